package main

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// The largest messages, as strand serve has them: a line with its newline, and a message without its header.
const (
	maxLine    = 4096
	maxMessage = 1 << 20
	header     = 4
)

var errTooLong = errors.New("a message is too long")

// splitter finds the messages at the begin of what has come: whole is how many bytes they are together, and need how many bytes there must be
// after them before it is worth looking again, at least 1. An error ends the connection, after the whole ones have been answered.
type splitter func(buf []byte) (whole, need int, err error)

var splitters = map[string]splitter{"echo": splitEcho, "line": splitLines, "length": splitLengths}

func splitEcho(buf []byte) (whole, need int, err error) { return len(buf), 1, nil }

// splitLines looks for each newline: that is the work of a server of lines.
func splitLines(buf []byte) (whole, need int, err error) {
	for {
		rest := buf[whole:]
		n := bytes.IndexByte(rest[:min(len(rest), maxLine)], '\n') + 1
		switch {
		case n > 0:
			whole += n
		case len(rest) >= maxLine:
			return whole, 1, errTooLong
		default:
			return whole, len(rest) + 1, nil
		}
	}
}

func splitLengths(buf []byte) (whole, need int, err error) {
	for {
		rest := buf[whole:]
		if len(rest) < header {
			return whole, header, nil
		}
		n := binary.BigEndian.Uint32(rest)
		if n > maxMessage {
			return whole, 1, errTooLong
		}
		if len(rest) < header+int(n) {
			return whole, header + int(n), nil
		}
		whole += header + int(n)
	}
}
