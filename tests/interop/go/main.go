// Command interop runs verifiers that others wrote over what a Suyuan log serves.
//
// It answers requests on standard input, one JSON object a line, with one JSON object a line on standard output:
// {"ok": {...}} or {"error": "..."}; a verifier's refusal is part of an answer, in "verdicts" (empty: accepted). The
// only hashing of its own is in recompute.go, which shares nothing with the libraries.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// Request is what a check may be told. Byte strings are base64 in JSON.
type Request struct {
	Check string `json:"check"`

	URL     string             `json:"url"`     // of a log: what `/checkpoint` and `/tile/...` follow
	VKey    string             `json:"vkey"`    // of the log
	Note    string             `json:"note"`    // signed checkpoint
	Old     string             `json:"old"`     // an older one
	Changes map[string]*[]byte `json:"changes"` // what the mirror holds otherwise, by path; null: nothing there

	Witnesses []string `json:"witnesses"` // vkeys
	Policy    string   `json:"policy"`
	Receipt   string   `json:"receipt"`

	Entry   []byte   `json:"entry"`
	Index   int64    `json:"index"`
	Indices []int64  `json:"indices"`
	Size    int64    `json:"size"`
	Root    []byte   `json:"root"`
	OldSize int64    `json:"old_size"`
	OldRoot []byte   `json:"old_root"`
	Path    [][]byte `json:"path"`

	Name  string   `json:"name"` // of a signer
	Seed  []byte   `json:"seed"` // its Ed25519 seed
	Tiles []Tile   `json:"tiles"`
	Paths []string `json:"paths"`
}

// Tile is a coordinate; level -1 is an entry bundle, width 256 a full tile.
type Tile struct {
	Level int    `json:"level"`
	Index uint64 `json:"index"`
	Width int    `json:"width"`
}

// Verdicts are the refusals by verifier, empty where it accepted.
type Verdicts map[string]string

// Put records what one verifier says.
func (v Verdicts) Put(verifier string, refusal error) {
	v[verifier] = ""
	if refusal != nil {
		v[verifier] = refusal.Error()
		if v[verifier] == "" {
			v[verifier] = "refused without a word"
		}
	}
}

var checks = map[string]func(*Request) (any, error){
	"fetch":        fetchMirror,
	"whole-log":    wholeLog,
	"live-log":     liveLog,
	"torchwood":    torchwoodAlone,
	"note":         checkNote,
	"text":         checkText,
	"inclusion":    checkInclusion,
	"consistency":  checkConsistency,
	"receipt":      checkReceipt,
	"cosignatures": checkCosignatures,
	"policy":       checkPolicy,
	"make-proofs":  makeProofs,
	"make-receipt": makeReceipt,
	"sign":         signNote,
	"paths":        tilePaths,
	"parse-paths":  parsePaths,
	"vkey":         readVKey,
}

func answer(line []byte) (reply map[string]any) {
	defer func() {
		if panicked := recover(); panicked != nil {
			reply = map[string]any{"panic": fmt.Sprint(panicked)}
		}
	}()
	request := &Request{}
	if err := json.Unmarshal(line, request); err != nil {
		return map[string]any{"error": err.Error()}
	}
	check, known := checks[request.Check]
	if !known {
		return map[string]any{"error": "no check " + request.Check}
	}
	result, err := check(request)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return map[string]any{"ok": result}
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		if err := out.Encode(answer(line)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
