package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"filippo.io/torchwood"
	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// wholeLog has every library read the whole mirrored log of the checkpoint `note`: each entry, each tile, proofs of
// `indices`, and consistency with `old` when given. Verdicts are those of x/mod, torchwood, tessera and recompute;
// `entries` is the SHA-256 of all entries as each read them.
func wholeLog(r *Request) (any, error) {
	mirror, err := changed(r)
	if err != nil {
		return nil, err
	}
	verdicts, entries := Verdicts{}, map[string]string{}
	for name, read := range map[string]func() ([]byte, error){
		"x/mod": func() ([]byte, error) { return xmodWhole(mirror, r) },
		"torchwood": func() ([]byte, error) {
			return torchwoodWhole(ForTorchwood{mirror}, r)
		},
		"tessera": func() ([]byte, error) {
			return tesseraWhole(mirror.tesseraCheckpoint, mirror.tesseraTile, mirror.tesseraBundle, r)
		},
		"recompute": func() ([]byte, error) {
			tree, err := openWithXMod(r.VKey, r.Note)
			if err != nil {
				return nil, err
			}
			return recompute(mirror, uint64(tree.N), tree.Hash[:])
		},
	} {
		digest, refusal := read()
		verdicts.Put(name, refusal)
		if refusal == nil {
			entries[name] = hex.EncodeToString(digest)
		}
	}
	return map[string]any{"verdicts": verdicts, "entries": entries}, nil
}

// torchwoodAlone has torchwood read the mirrored log: the cheapest of the four, for the many small tamperings.
func torchwoodAlone(r *Request) (any, error) {
	mirror, err := changed(r)
	if err != nil {
		return nil, err
	}
	verdicts := Verdicts{}
	_, refusal := torchwoodWhole(ForTorchwood{mirror}, r)
	verdicts.Put("torchwood", refusal)
	return map[string]any{"verdicts": verdicts}, nil
}

// liveLog has torchwood and tessera read the whole log with their own HTTP clients. `note` is what they should find as
// the newest checkpoint; they start from nothing but the URL and the vkey.
func liveLog(r *Request) (any, error) {
	verdicts, entries := Verdicts{}, map[string]string{}
	connections := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	fetcher, err := torchwood.NewTileFetcher(
		r.URL+"/", torchwood.WithConcurrencyLimit(4), torchwood.WithHTTPClient(connections))
	if err != nil {
		return nil, err
	}
	digest, refusal := torchwoodWhole(fetcher, r)
	verdicts.Put("torchwood", refusal)
	entries["torchwood"] = hex.EncodeToString(digest)

	address, err := url.Parse(r.URL + "/")
	if err != nil {
		return nil, err
	}
	reader, err := client.NewHTTPFetcher(address, connections)
	if err != nil {
		return nil, err
	}
	digest, refusal = tesseraWhole(reader.ReadCheckpoint, reader.ReadTile, reader.ReadEntryBundle, r)
	verdicts.Put("tessera", refusal)
	entries["tessera"] = hex.EncodeToString(digest)
	return map[string]any{"verdicts": verdicts, "entries": entries}, nil
}

// openWithXMod opens a checkpoint with x/mod's note alone; its three lines are read with formats/log.
func openWithXMod(vkey, signed string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	var checkpoint log.Checkpoint
	rest, err := checkpoint.Unmarshal([]byte(opened.Text))
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(rest) > 0 || checkpoint.Origin != verifier.Name() || len(checkpoint.Hash) != tlog.HashSize {
		return tlog.Tree{}, errors.New("not a checkpoint of this log")
	}
	return tlog.Tree{N: int64(checkpoint.Size), Hash: tlog.Hash(checkpoint.Hash)}, nil
}

func xmodWhole(mirror *Mirror, r *Request) ([]byte, error) {
	tree, err := openWithXMod(r.VKey, r.Note)
	if err != nil {
		return nil, err
	}
	reader := tlog.TileHashReader(tree, ForXMod{mirror})
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil {
		return nil, err
	}
	if root != tree.Hash {
		return nil, errors.New("the tree hash is not the checkpoint's")
	}
	// Every leaf hash through the checking reader, 64 tiles at a time: no tile may be left unread.
	all := sha256.New()
	for first := int64(0); first < tree.N; first += 64 * 256 {
		var wanted []int64
		for index := first; index < min(first+64*256, tree.N); index++ {
			wanted = append(wanted, tlog.StoredHashIndex(0, index))
		}
		hashes, err := reader.ReadHashes(wanted)
		if err != nil {
			return nil, err
		}
		for start := 0; start < len(hashes); start += 256 {
			width := min(256, len(hashes)-start)
			tile := tlog.Tile{H: 8, L: -1, N: (first + int64(start)) / 256, W: width}
			full := tile
			full.W = 256
			entries, err := mirror.entries(withoutHeight(tile), withoutHeight(full), width)
			if err != nil {
				return nil, err
			}
			for place, entry := range entries {
				if tlog.RecordHash(entry) != hashes[start+place] {
					return nil, fmt.Errorf("an entry of bundle %d is not the one of its tile", tile.N)
				}
				write(all, entry)
			}
		}
	}
	for _, index := range r.Indices {
		path, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return nil, err
		}
		hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return nil, err
		}
		if err := tlog.CheckRecord(path, tree.N, tree.Hash, index, hashes[0]); err != nil {
			return nil, err
		}
	}
	if r.Old != "" {
		old, err := openWithXMod(r.VKey, r.Old)
		if err != nil {
			return nil, err
		}
		if old.N > 0 {
			path, err := tlog.ProveTree(tree.N, old.N, reader)
			if err != nil {
				return nil, err
			}
			if err := tlog.CheckTree(path, tree.N, tree.Hash, old.N, old.Hash); err != nil {
				return nil, err
			}
		}
	}
	return all.Sum(nil), nil
}

func policyOf(vkey string) (torchwood.Policy, error) {
	verifier, err := torchwood.NewLogVerifier(vkey)
	if err != nil {
		return nil, err
	}
	return torchwood.ThresholdPolicy(
		2, torchwood.OriginPolicy(verifier.Name()), torchwood.SingleVerifierPolicy(verifier)), nil
}

func torchwoodWhole(reader torchwood.TileReader, r *Request) ([]byte, error) {
	ctx := context.Background()
	policy, err := policyOf(r.VKey)
	if err != nil {
		return nil, err
	}
	signed, err := reader.ReadEndpoint(ctx, "checkpoint")
	if err != nil {
		return nil, err
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint(signed, policy)
	if err != nil {
		return nil, err
	}
	reads, err := torchwood.NewClient(reader)
	if err != nil {
		return nil, err
	}
	all := sha256.New()
	count := int64(0)
	for index, entry := range reads.AllEntries(ctx, checkpoint.Tree, 0) {
		if index != count {
			return nil, fmt.Errorf("entry %d where %d was due", index, count)
		}
		write(all, entry)
		count++
	}
	if err := reads.Err(); err != nil {
		return nil, err
	}
	if count != checkpoint.N {
		return nil, fmt.Errorf("%d entries of %d", count, checkpoint.N)
	}
	for _, index := range r.Indices {
		entry, path, err := reads.Entry(ctx, checkpoint.Tree, index)
		if err != nil {
			return nil, err
		}
		if err := tlog.CheckRecord(path, checkpoint.N, checkpoint.Hash, index, tlog.RecordHash(entry)); err != nil {
			return nil, err
		}
	}
	return all.Sum(nil), nil
}

func tesseraWhole(
	readCheckpoint client.CheckpointFetcherFunc,
	readTile client.TileFetcherFunc,
	readBundle client.EntryBundleFetcherFunc,
	r *Request,
) ([]byte, error) {
	ctx := context.Background()
	verifier, err := note.NewVerifier(r.VKey)
	if err != nil {
		return nil, err
	}
	checkpoint, _, _, err := client.FetchCheckpoint(ctx, readCheckpoint, verifier, verifier.Name())
	if err != nil {
		return nil, err
	}
	hasher := rfc6962.DefaultHasher
	edge := (&compact.RangeFactory{Hash: hasher.HashChildren}).NewEmptyRange(0)
	all := sha256.New()
	var leaves [][]byte
	sizes := func(context.Context) (uint64, error) { return checkpoint.Size, nil }
	unbundle := func(raw []byte) ([][]byte, error) {
		var bundle api.EntryBundle
		err := bundle.UnmarshalText(raw)
		return bundle.Entries, err
	}
	for entry, err := range client.Entries(client.EntryBundles(ctx, 2, sizes, readBundle, 0, checkpoint.Size), unbundle) {
		if err != nil {
			return nil, err
		}
		leaf := hasher.HashLeaf(entry.Entry)
		leaves = append(leaves, leaf)
		if err := edge.Append(leaf, nil); err != nil {
			return nil, err
		}
		write(all, entry.Entry)
	}
	root := hasher.EmptyRoot()
	if checkpoint.Size > 0 {
		if root, err = edge.GetRootHash(nil); err != nil {
			return nil, err
		}
	}
	if uint64(len(leaves)) != checkpoint.Size || !bytes.Equal(root, checkpoint.Hash) {
		return nil, fmt.Errorf("%d entries do not make the checkpoint's root", len(leaves))
	}
	if checkpoint.Size > 0 {
		hashes, err := client.FetchLeafHashes(ctx, readTile, 0, checkpoint.Size, checkpoint.Size)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(bytes.Join(hashes, nil), bytes.Join(leaves, nil)) {
			return nil, errors.New("the leaf hashes of the tiles are not those of the entries")
		}
		nodes, err := client.FetchRangeNodes(ctx, checkpoint.Size, readTile)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(bytes.Join(nodes, nil), bytes.Join(edge.Hashes(), nil)) {
			return nil, errors.New("the right edge of the tiles is not that of the entries")
		}
		builder, err := client.NewProofBuilder(ctx, checkpoint.Size, readTile)
		if err != nil {
			return nil, err
		}
		for _, index := range r.Indices {
			path, err := builder.InclusionProof(ctx, uint64(index))
			if err != nil {
				return nil, err
			}
			if err := proof.VerifyInclusion(
				hasher, uint64(index), checkpoint.Size, leaves[index], path, checkpoint.Hash); err != nil {
				return nil, err
			}
		}
	}
	if r.Old != "" {
		tracker, err := client.NewLogStateTracker(
			ctx, readTile, []byte(r.Old), verifier, verifier.Name(), client.UnilateralConsensus(readCheckpoint))
		if err != nil {
			return nil, err
		}
		if _, _, _, err := tracker.Update(ctx); err != nil {
			return nil, err
		}
		if tracker.Latest().Size != checkpoint.Size {
			return nil, errors.New("the tracker did not follow the log")
		}
	}
	return all.Sum(nil), nil
}
