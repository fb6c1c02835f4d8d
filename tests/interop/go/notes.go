package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"filippo.io/torchwood"
	"github.com/transparency-dev/formats/log"
	cosigned "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/witness"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// checkNote opens the checkpoint `note` with `vkey`. Also tells what x/mod found, and which signatures it did not know.
func checkNote(r *Request) (any, error) {
	verdicts := Verdicts{}
	tree, err := openWithXMod(r.VKey, r.Note)
	verdicts.Put("x/mod", err)
	policy, err := policyOf(r.VKey)
	var checkpoint torchwood.Checkpoint
	var opened *note.Note
	if err == nil {
		checkpoint, opened, err = torchwood.VerifyCheckpoint([]byte(r.Note), policy)
	}
	verdicts.Put("torchwood", err)
	unknown := []string{}
	if opened != nil {
		for _, signature := range opened.UnverifiedSigs {
			unknown = append(unknown, signature.Name)
		}
	}
	return map[string]any{
		"verdicts": verdicts,
		"origin":   checkpoint.Origin, "size": tree.N, "root": tree.Hash[:], "unknown": unknown,
		"writes": checkpoint.String(),
	}, nil
}

// checkText opens any signed note with `vkey` of type 1 and returns its text.
func checkText(r *Request) (any, error) {
	verdicts := Verdicts{}
	text := ""
	verifier, err := note.NewVerifier(r.VKey)
	if err == nil {
		var opened *note.Note
		opened, err = note.Open([]byte(r.Note), note.VerifierList(verifier))
		if err == nil {
			text = opened.Text
		}
	}
	verdicts.Put("x/mod", err)
	return map[string]any{"verdicts": verdicts, "text": text}, nil
}

// checkCosignatures wants a cosignature of every one of `witnesses` on the checkpoint `note`, and tells their times.
func checkCosignatures(r *Request) (any, error) {
	verdicts := Verdicts{}
	times, err := cosignaturesWith(r, func(vkey string) (note.Verifier, error) {
		return torchwood.NewCosignatureVerifier(vkey)
	}, torchwood.CosignatureTimestamp)
	verdicts.Put("torchwood", err)
	again, err := cosignaturesWith(r, cosigned.NewVerifierForCosignatureV1, func(signature note.Signature) (int64, error) {
		time, err := cosigned.CoSigV1Timestamp(signature)
		return time.Unix(), err
	})
	verdicts.Put("formats", err)
	return map[string]any{"verdicts": verdicts, "times": map[string]any{"torchwood": times, "formats": again}}, nil
}

func cosignaturesWith(
	r *Request, read func(string) (note.Verifier, error), timeOf func(note.Signature) (int64, error),
) (map[string]int64, error) {
	var verifiers []note.Verifier
	for _, vkey := range r.Witnesses {
		verifier, err := read(vkey)
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, verifier)
	}
	opened, err := note.Open([]byte(r.Note), note.VerifierList(verifiers...))
	if err != nil {
		return nil, err
	}
	var checkpoint log.Checkpoint
	if rest, err := checkpoint.Unmarshal([]byte(opened.Text)); err != nil || len(rest) > 0 {
		return nil, errors.New("no checkpoint was cosigned")
	}
	times := map[string]int64{}
	for _, signature := range opened.Sigs {
		if times[signature.Name], err = timeOf(signature); err != nil {
			return nil, err
		}
	}
	if len(times) != len(verifiers) {
		return nil, fmt.Errorf("%d of %d cosignatures", len(times), len(verifiers))
	}
	return times, nil
}

// checkPolicy asks whether the checkpoint `note` satisfies a policy file, as torchwood and as formats read it. formats
// looks at the witnesses only.
func checkPolicy(r *Request) (any, error) {
	verdicts := Verdicts{}
	policy, err := torchwood.ParsePolicy([]byte(r.Policy))
	if err == nil {
		_, _, err = torchwood.VerifyCheckpoint([]byte(r.Note), policy)
	}
	verdicts.Put("torchwood", err)
	group, err := witness.ParsePolicy([]byte(r.Policy))
	if err == nil && !group.Satisfied([]byte(r.Note)) {
		err = errors.New("the witnesses have not cosigned")
	}
	verdicts.Put("formats", err)
	return map[string]any{"verdicts": verdicts}, nil
}

// signNote signs the text `note` with `seed` under `name`, as a log (x/mod) and as a witness (torchwood and formats).
func signNote(r *Request) (any, error) {
	if len(r.Seed) != ed25519.SeedSize {
		return nil, errors.New("a seed has 32 bytes")
	}
	secret := ed25519.NewKeyFromSeed(r.Seed)
	public := append([]byte{1}, secret.Public().(ed25519.PublicKey)...)
	vkey, err := note.NewEd25519VerifierKey(r.Name, secret.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	id := strings.Split(strings.TrimPrefix(vkey, r.Name+"+"), "+")[0]
	private := fmt.Sprintf("PRIVATE+KEY+%s+%s+%s", r.Name, id, base64.StdEncoding.EncodeToString(append([]byte{1}, r.Seed...)))
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, err
	}
	asLog, err := note.Sign(&note.Note{Text: r.Note}, signer)
	if err != nil {
		return nil, err
	}
	cosigner, err := torchwood.NewCosignatureSigner(r.Name, secret)
	if err != nil {
		return nil, err
	}
	asWitness, err := note.Sign(&note.Note{Text: r.Note}, cosigner)
	if err != nil {
		return nil, err
	}
	other, err := cosigned.NewSignerForCosignatureV1(private)
	if err != nil {
		return nil, err
	}
	asOtherWitness, err := note.Sign(&note.Note{Text: r.Note}, other)
	if err != nil {
		return nil, err
	}
	cosignerKey, err := cosigned.VKeyToCosignatureV1(vkey)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"public": public[1:], "x/mod": string(asLog), "torchwood": string(asWitness), "formats": string(asOtherWitness),
		"log vkey": vkey, "torchwood vkey": cosigner.Verifier().String(), "formats vkey": cosignerKey,
	}, nil
}

// readVKey reads a log's vkey and a witness's and tells their key ids.
func readVKey(r *Request) (any, error) {
	verdicts, ids := Verdicts{}, map[string]string{}
	for name, read := range map[string]func(string) (note.Verifier, error){
		"x/mod":     note.NewVerifier,
		"torchwood": func(vkey string) (note.Verifier, error) { return torchwood.NewCosignatureVerifier(vkey) },
		"formats":   cosigned.NewVerifierForCosignatureV1,
	} {
		verifier, err := read(r.VKey)
		verdicts.Put(name, err)
		if err == nil {
			ids[name] = fmt.Sprintf("%08x", verifier.KeyHash())
		}
	}
	return map[string]any{"verdicts": verdicts, "ids": ids}, nil
}

// tilePaths writes the paths of `tiles` as torchwood, tessera and x/mod (its height left out) do.
func tilePaths(r *Request) (any, error) {
	written := [][]string{}
	for _, tile := range r.Tiles {
		coordinate := tlog.Tile{H: 8, L: tile.Level, N: int64(tile.Index), W: tile.Width}
		tessera := layout.EntriesPath(tile.Index, uint8(tile.Width))
		if tile.Level >= 0 {
			tessera = layout.TilePath(uint64(tile.Level), tile.Index, uint8(tile.Width))
		}
		written = append(written, []string{torchwood.TilePath(coordinate), tessera, withoutHeight(coordinate)})
	}
	return map[string]any{"paths": written}, nil
}

// parsePaths reads `paths` with torchwood; null for what is no path of a tile.
func parsePaths(r *Request) (any, error) {
	read := []*Tile{}
	for _, path := range r.Paths {
		coordinate, err := torchwood.ParseTilePath(path)
		if err != nil {
			read = append(read, nil)
			continue
		}
		read = append(read, &Tile{coordinate.L, uint64(coordinate.N), coordinate.W})
	}
	return map[string]any{"tiles": read}, nil
}
