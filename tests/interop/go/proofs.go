package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"filippo.io/torchwood"
	formats "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/tlog"
)

func hashes(path [][]byte) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, hash := range path {
		if len(hash) != tlog.HashSize {
			return nil, errors.New("a hash does not have 32 bytes")
		}
		found = append(found, tlog.Hash(hash))
	}
	return found, nil
}

func root(hash []byte) (tlog.Hash, error) {
	if len(hash) != tlog.HashSize {
		return tlog.Hash{}, errors.New("a root does not have 32 bytes")
	}
	return tlog.Hash(hash), nil
}

// checkInclusion checks that `entry` stands at `index` of the tree of `size` and `root`, by `path`.
func checkInclusion(r *Request) (any, error) {
	verdicts := Verdicts{}
	verdicts.Put("x/mod", xmodInclusion(r))
	hasher := rfc6962.DefaultHasher
	verdicts.Put("merkle", proof.VerifyInclusion(
		hasher, uint64(r.Index), uint64(r.Size), hasher.HashLeaf(r.Entry), r.Path, r.Root))
	return map[string]any{"verdicts": verdicts}, nil
}

func xmodInclusion(r *Request) error {
	path, err := hashes(r.Path)
	if err != nil {
		return err
	}
	top, err := root(r.Root)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(path, r.Size, top, r.Index, tlog.RecordHash(r.Entry))
}

// checkConsistency checks that the tree of `size` and `root` begins with that of `old_size` and `old_root`, by `path`.
func checkConsistency(r *Request) (any, error) {
	verdicts := Verdicts{}
	verdicts.Put("x/mod", xmodConsistency(r))
	verdicts.Put("merkle", proof.VerifyConsistency(
		rfc6962.DefaultHasher, uint64(r.OldSize), uint64(r.Size), r.Path, r.OldRoot, r.Root))
	return map[string]any{"verdicts": verdicts}, nil
}

func xmodConsistency(r *Request) error {
	path, err := hashes(r.Path)
	if err != nil {
		return err
	}
	top, err := root(r.Root)
	if err != nil {
		return err
	}
	before, err := root(r.OldRoot)
	if err != nil {
		return err
	}
	return tlog.CheckTree(path, r.Size, top, r.OldSize, before)
}

// checkReceipt checks a tlog-proof whose extra data is the entry it is of: with torchwood wholly, and with formats,
// x/mod's note and merkle in turn. Also says what formats writes again for what it read.
func checkReceipt(r *Request) (any, error) {
	verdicts := Verdicts{}
	verdicts.Put("torchwood", torchwoodReceipt(r))
	var read formats.TLogProof
	err := read.Unmarshal([]byte(r.Receipt))
	if err == nil {
		err = formatsReceipt(r, &read)
	}
	verdicts.Put("formats", err)
	return map[string]any{"verdicts": verdicts, "again": string(read.Marshal()), "entry": read.ExtraData}, nil
}

func torchwoodReceipt(r *Request) error {
	policy, err := policyOf(r.VKey)
	if r.Policy != "" {
		policy, err = torchwood.ParsePolicy([]byte(r.Policy))
	}
	if err != nil {
		return err
	}
	entry, err := torchwood.ProofExtraData([]byte(r.Receipt))
	if err != nil {
		return err
	}
	return torchwood.VerifyProof(policy, tlog.RecordHash(entry), []byte(r.Receipt))
}

func formatsReceipt(r *Request, read *formats.TLogProof) error {
	tree, err := openWithXMod(r.VKey, string(read.Checkpoint))
	if err != nil {
		return err
	}
	var path [][]byte
	for _, hash := range read.Hashes {
		path = append(path, bytes.Clone(hash[:]))
	}
	hasher := rfc6962.DefaultHasher
	return proof.VerifyInclusion(
		hasher, read.Index, uint64(tree.N), hasher.HashLeaf(read.ExtraData), path, tree.Hash[:])
}

// makeProofs has x/mod and tessera make the inclusion paths of `indices`, and the consistency path from `old_size`,
// in the mirrored tree of `size` and `root`.
func makeProofs(r *Request) (any, error) {
	mirror, err := changed(r)
	if err != nil {
		return nil, err
	}
	top, err := root(r.Root)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	reader := tlog.TileHashReader(tlog.Tree{N: r.Size, Hash: top}, ForXMod{mirror})
	builder, err := client.NewProofBuilder(ctx, uint64(r.Size), mirror.tesseraTile)
	if err != nil {
		return nil, err
	}
	xmod, tessera := [][][]byte{}, [][][]byte{}
	for _, index := range r.Indices {
		path, err := tlog.ProveRecord(r.Size, index, reader)
		if err != nil {
			return nil, err
		}
		xmod = append(xmod, slices(path))
		other, err := builder.InclusionProof(ctx, uint64(index))
		if err != nil {
			return nil, err
		}
		tessera = append(tessera, append([][]byte{}, other...))
	}
	made := map[string]any{"x/mod": xmod, "tessera": tessera}
	if r.OldSize > 0 {
		path, err := tlog.ProveTree(r.Size, r.OldSize, reader)
		if err != nil {
			return nil, err
		}
		made["x/mod consistency"] = slices(path)
		other, err := builder.ConsistencyProof(ctx, uint64(r.OldSize), uint64(r.Size))
		if err != nil {
			return nil, err
		}
		made["tessera consistency"] = append([][]byte{}, other...)
	}
	return made, nil
}

func slices(path []tlog.Hash) [][]byte {
	found := [][]byte{}
	for _, hash := range path {
		found = append(found, bytes.Clone(hash[:]))
	}
	return found
}

// makeReceipt has torchwood and formats write the tlog-proof of `entry` at `index` with `path` and `note`.
func makeReceipt(r *Request) (any, error) {
	path, err := hashes(r.Path)
	if err != nil {
		return nil, err
	}
	written := formats.TLogProof{Index: uint64(r.Index), Checkpoint: []byte(r.Note), ExtraData: r.Entry}
	for _, hash := range path {
		written.Hashes = append(written.Hashes, hash)
	}
	return map[string]any{
		"torchwood": string(torchwood.FormatProofWithExtraData(r.Index, r.Entry, path, []byte(r.Note))),
		"formats":   fmt.Sprintf("%s", written.Marshal()),
	}, nil
}
