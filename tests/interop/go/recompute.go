package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
)

// recompute rebuilds the log from its entry bundles alone and compares every tile and the root with the result. It
// follows the text of RFC 6962 and tlog-tiles and calls nothing but SHA-256; returns the SHA-256 of all entries.
func recompute(m *Mirror, size uint64, root []byte) ([]byte, error) {
	if size == 0 {
		empty := sha256.Sum256(nil)
		if !bytes.Equal(root, empty[:]) {
			return nil, errors.New("the root of an empty log is not the hash of nothing")
		}
		return empty[:], nil // which is also the SHA-256 of no entries
	}
	all := sha256.New()
	row := make([][]byte, 0, size)
	for index := uint64(0); index*256 < size; index++ {
		width := min(256, size-index*256)
		entries, err := m.entries(place("entries", index, width), place("entries", index, 256), int(width))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			leaf := sha256.Sum256(append([]byte{0}, entry...))
			row = append(row, leaf[:])
			write(all, entry)
		}
	}
	leaves := row
	for level := 0; len(row) > 0; level++ {
		var above [][]byte
		for index := 0; index*256 < len(row); index++ {
			hashes := row[index*256 : min((index+1)*256, len(row))]
			expected := bytes.Join(hashes, nil)
			name, width := fmt.Sprint(level), uint64(len(hashes))
			stored, err := m.tile(place(name, uint64(index), width), place(name, uint64(index), 256), len(hashes))
			if err != nil {
				return nil, err
			}
			if !bytes.Equal(stored, expected) {
				return nil, fmt.Errorf("tile %d/%d is not that of the entries", level, index)
			}
			if len(hashes) == 256 {
				above = append(above, treeHash(hashes))
			}
		}
		row = above
	}
	if !bytes.Equal(treeHash(leaves), root) {
		return nil, errors.New("the root is not that of the entries")
	}
	return all.Sum(nil), nil
}

// write adds an entry to the SHA-256 of all entries, behind its length.
func write(all hash.Hash, entry []byte) {
	all.Write(binary.BigEndian.AppendUint16(nil, uint16(len(entry))))
	all.Write(entry)
}

// treeHash is MTH of RFC 6962 section 2.1 over leaf hashes.
func treeHash(hashes [][]byte) []byte {
	if len(hashes) == 1 {
		return hashes[0]
	}
	split := 1
	for split*2 < len(hashes) {
		split *= 2
	}
	node := append([]byte{1}, treeHash(hashes[:split])...)
	sum := sha256.Sum256(append(node, treeHash(hashes[split:])...))
	return sum[:]
}

// place writes a path as the text of tlog-tiles says.
func place(level string, index, width uint64) string {
	number := fmt.Sprintf("%03d", index%1000)
	for index /= 1000; index > 0; index /= 1000 {
		number = fmt.Sprintf("x%03d/%s", index%1000, number)
	}
	path := "tile/" + level + "/" + number
	if width < 256 {
		path += fmt.Sprintf(".p/%d", width)
	}
	return path
}
