package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"
)

// Mirror is a log's checkpoint, tiles and bundles by path; changes lie over what was fetched.
type Mirror struct {
	fetched map[string][]byte
	changes map[string]*[]byte
}

var (
	kept     = map[string]*Mirror{}
	errNoOne = fmt.Errorf("not in the mirror: %w", os.ErrNotExist)
)

func (m *Mirror) read(path string) ([]byte, error) {
	if changed, found := m.changes[path]; found {
		if changed == nil {
			return nil, fmt.Errorf("%s: %w", path, errNoOne)
		}
		return *changed, nil
	}
	content, found := m.fetched[path]
	if !found {
		return nil, fmt.Errorf("%s: %w", path, errNoOne)
	}
	return content, nil
}

// changed is the mirror of a URL with the changes of a request.
func changed(r *Request) (*Mirror, error) {
	mirror, found := kept[r.URL]
	if !found {
		return nil, errors.New("nothing was fetched from " + r.URL)
	}
	return &Mirror{mirror.fetched, r.Changes}, nil
}

// orFull reads a partial resource or, where it is gone, the full one (tlog-tiles, "Partial Tiles"); and says which.
func (m *Mirror) orFull(partial, full string) (content []byte, isFull bool, err error) {
	content, err = m.read(partial)
	if partial != full && errors.Is(err, os.ErrNotExist) {
		content, err = m.read(full)
		return content, true, err
	}
	return content, partial == full, err
}

// tile reads a tile of `width` hashes, from the front of the full one where the partial one is gone.
func (m *Mirror) tile(partial, full string, width int) ([]byte, error) {
	content, isFull, err := m.orFull(partial, full)
	if err == nil && isFull && len(content) == 256*tlog.HashSize {
		content = content[:width*tlog.HashSize]
	}
	return content, err
}

// entries reads a bundle of `width` entries, each behind its length, from the front of the full one where the partial
// one is gone; nothing else may be in it.
func (m *Mirror) entries(partial, full string, width int) ([][]byte, error) {
	rest, isFull, err := m.orFull(partial, full)
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(rest) > 0 && !(isFull && len(entries) == 256) {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return nil, fmt.Errorf("%s ends within an entry", partial)
		}
		end := 2 + int(binary.BigEndian.Uint16(rest))
		entries = append(entries, rest[2:end])
		rest = rest[end:]
	}
	if len(rest) > 0 || len(entries) < width || (len(entries) > width && !isFull) {
		return nil, fmt.Errorf("%s does not hold its %d entries", partial, width)
	}
	return entries[:width], nil
}

// ForTorchwood is the mirror as torchwood.TileReader; paths are those of torchwood.
type ForTorchwood struct{ *Mirror }

func (m ForTorchwood) ReadTiles(_ context.Context, tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		content, err := m.read(torchwood.TilePath(tile))
		if err != nil {
			return nil, err
		}
		found = append(found, content)
	}
	return found, nil
}

func (m ForTorchwood) SaveTiles([]tlog.Tile, [][]byte) {}

func (m ForTorchwood) ReadEndpoint(_ context.Context, path string) ([]byte, error) {
	return m.read(path)
}

// ForXMod is the mirror as tlog.TileReader; paths are those of x/mod with its height left out.
type ForXMod struct{ *Mirror }

func (m ForXMod) Height() int { return 8 }

func (m ForXMod) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		full := tile
		full.W = 256
		content, err := m.tile(withoutHeight(tile), withoutHeight(full), tile.W)
		if err != nil {
			return nil, err
		}
		found = append(found, content)
	}
	return found, nil
}

func (m ForXMod) SaveTiles([]tlog.Tile, [][]byte) {}

// withoutHeight is the path that tlog-tiles gives a tile: x/mod's begins with the height too.
func withoutHeight(tile tlog.Tile) string {
	return "tile/" + strings.Replace(strings.TrimPrefix(tile.Path(), "tile/8/"), "data/", "entries/", 1)
}

// The mirror as tessera's client reads it; paths are those of tessera.
func (m *Mirror) tesseraTile(_ context.Context, level, index uint64, partial uint8) ([]byte, error) {
	content, _, err := m.orFull(layout.TilePath(level, index, partial), layout.TilePath(level, index, 0))
	return content, err
}

func (m *Mirror) tesseraBundle(_ context.Context, index uint64, partial uint8) ([]byte, error) {
	content, _, err := m.orFull(layout.EntriesPath(index, partial), layout.EntriesPath(index, 0))
	return content, err
}

func (m *Mirror) tesseraCheckpoint(context.Context) ([]byte, error) {
	return m.read(layout.CheckpointPath)
}

// pathsOf lists everything a log of that size must serve beside its checkpoint, in the spelling of tessera.
func pathsOf(size uint64) (paths []string, widths map[string][]int) {
	widths = map[string][]int{}
	for level := uint64(0); size>>(8*level) > 0; level++ {
		hashes := size >> (8 * level)
		for index := uint64(0); index*256 < hashes; index++ {
			width := min(256, hashes-index*256)
			paths = append(paths, layout.TilePath(level, index, uint8(width)))
			widths[fmt.Sprint(level)] = append(widths[fmt.Sprint(level)], int(width))
			if level == 0 {
				paths = append(paths, layout.EntriesPath(index, uint8(width)))
			}
		}
	}
	return paths, widths
}

// fetchMirror reads a whole log of `size` entries over HTTP and keeps it under its URL, with `note` as its checkpoint.
// For each of `indices`, an older size, it reads the partial tiles of that size too.
func fetchMirror(r *Request) (any, error) {
	paths, widths := pathsOf(uint64(r.Size))
	known := map[string]bool{}
	for _, path := range paths {
		known[path] = true
	}
	for _, size := range r.Indices {
		older, _ := pathsOf(uint64(size))
		for _, path := range older {
			if !known[path] {
				known[path] = true
				paths = append(paths, path)
			}
		}
	}
	mirror := &Mirror{fetched: map[string][]byte{"checkpoint": []byte(r.Note)}}
	var mutex sync.Mutex
	var workers sync.WaitGroup
	var failed error
	waiting := make(chan string)
	bytes := 0
	for range 4 {
		workers.Go(func() {
			for path := range waiting {
				content, err := get(r.URL + "/" + path)
				mutex.Lock()
				if err != nil {
					failed = err
				}
				mirror.fetched[path] = content
				bytes += len(content)
				mutex.Unlock()
			}
		})
	}
	for _, path := range paths {
		waiting <- path
	}
	close(waiting)
	workers.Wait()
	if failed != nil {
		return nil, failed
	}
	kept[r.URL] = mirror
	return map[string]any{"files": len(paths), "bytes": bytes, "widths": widths}, nil
}

func get(url string) ([]byte, error) {
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return content, err
}
