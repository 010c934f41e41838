package frame_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver/frame"
)

// The fuzz targets hold for any framing what tryStream and tryMessages say. option picks the framing's options.

func FuzzLengthField(f *testing.F) {
	orders := []binary.ByteOrder{nil, binary.BigEndian, binary.LittleEndian}
	fuzz(f, func(option uint32, most int) frame.Framing {
		adjust := []int{0, -1, 1, -1 << 20, 1 << 20, -int(option >> 24), int(option >> 24)}
		framing := frame.LengthField{
			Size: 1 << (option & 3), Order: orders[option>>2%3], Keep: option>>8&1 == 1, Max: most,
			Adjust: adjust[int(option>>12)%len(adjust)],
		}
		if option>>9&1 == 1 {
			framing.Offset = int(option >> 4 & 15)
		}
		if option>>10&1 == 1 && !framing.Keep {
			framing.Strip = int(option >> 16 & 15)
		}
		return framing
	})
}

func FuzzFunc(f *testing.F) {
	fuzz(f, func(option uint32, most int) frame.Framing {
		return frame.Func{Max: most, Length: func(data []byte) (int, error) {
			if len(data) == 0 {
				panic("it has nothing to look at")
			}
			if data[0] == byte(option) {
				return 0, errFunc
			}
			if len(data) < 3 {
				return 0, nil
			}
			n := int(int16(binary.BigEndian.Uint16(data[1:])))
			if n < 0 {
				return n, nil
			}
			return 3 + n, nil
		}}
	})
}

var errFunc = errors.New("it does not like this byte")

func FuzzDelimiter(f *testing.F) {
	delims := []string{"\n", "\r\n", "\r\n\r\n", "aa", "aba", "abcabcabd", "\x00", "a delimiter of more than 32 bytes, for whatever reason"}
	fuzz(f, func(option uint32, most int) frame.Framing {
		return frame.Delimiter{Delim: delims[option&7], Keep: option>>3&1 == 1, Max: most}
	})
}

func FuzzLine(f *testing.F) {
	fuzz(f, func(option uint32, most int) frame.Framing {
		return frame.Line{CRLF: option&3 == 1, Keep: option&3 == 2, Max: most}
	})
}

func FuzzFixed(f *testing.F) {
	fuzz(f, func(_ uint32, most int) frame.Framing { return frame.Fixed{Size: most} })
}

func FuzzUvarint(f *testing.F) {
	fuzz(f, func(option uint32, most int) frame.Framing { return frame.Uvarint{Keep: option&1 == 1, Max: most} })
}

func FuzzMQTT(f *testing.F) {
	fuzz(f, func(_ uint32, most int) frame.Framing { return frame.MQTT{Max: most} })
}

// fuzz tries the framing that makes gives with streams of bytes, which may be anything, and with messages. cuts say how they come.
func fuzz(f *testing.F, makes func(option uint32, most int) frame.Framing) {
	for _, stream := range []string{
		"", "\x00", "\x00\x00\x00\x05hello\x00\x00\x00\x00", "\x05\x00\x00\x00\x00\x00\x00\x00hello", "one\ntwo\r\n\r\nthree", "aaaabaab abcabcabcabd",
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x30\x02ab\xc0\x00\x30\x80\x80\x01", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
		"\x3f\xff\xff\xff\xff\xff\xff\xff", "\x85\x80\x00hello",
	} {
		for option := range uint32(8) {
			f.Add([]byte(stream), []byte{0, 1, 3}, option, uint16(0))
			f.Add([]byte(stream), []byte{200}, option<<8|2, uint16(20))
		}
	}
	f.Fuzz(func(t *testing.T, stream, cuts []byte, option uint32, most uint16) {
		framing := makes(option, int(most))
		if framing.Validate() != nil {
			return
		}
		tryStream(t, framing, stream, cuts)
		tryMessages(t, framing, stream, cuts)
	})
}

// outcome is what a stream of bytes is, by its framing.
type outcome struct {
	messages [][]byte
	tail     []byte
	err      error
}

// read reads all there is.
func read(t *testing.T, source io.Reader, framing frame.Framing) (all outcome) {
	reader := newReader(t, source, framing)
	for {
		msg, err := reader.Recv()
		switch {
		case err == nil:
			all.messages = append(all.messages, msg)
		case err == io.ErrUnexpectedEOF:
			all.tail = msg
			fallthrough
		default:
			require.True(t, err == io.EOF || err == io.ErrUnexpectedEOF || errors.Is(err, frame.ErrTooLarge) || errors.Is(err, frame.ErrMalformed) ||
				errors.Is(err, errFunc), "%v", err)
			if _, again := reader.Recv(); err == io.EOF || err == io.ErrUnexpectedEOF {
				require.Equal(t, io.EOF, again)
			} else {
				require.Equal(t, err, again, "nothing is skipped")
			}
			all.err = err
			return all
		}
	}
}

// kind is the kind of error that err is.
func kind(err error) error {
	for _, kind := range []error{frame.ErrTooLarge, frame.ErrMalformed, errFunc} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return err
}

// inPieces is a Reader of data in pieces whose sizes cuts say. It fails the test if it is asked for much more than it has given.
func inPieces(t *testing.T, data, cuts []byte) io.Reader {
	given, i := 0, 0
	return readerFunc(func(p []byte) (int, error) {
		require.LessOrEqual(t, len(p), 64<<10+4*given)
		if len(data) == 0 {
			return 0, io.EOF
		}
		n := len(data)
		if len(cuts) > 0 {
			n = min(n, 1+int(cuts[i%len(cuts)]))
			i++
		}
		n = copy(p, data[:n])
		data, given = data[n:], given+n
		return n, nil
	})
}

// tryStream reads whatever stream is, as one piece and in several: it is the same, no message is larger than it may be, and nothing that
// came before the end is missing.
func tryStream(t *testing.T, framing frame.Framing, stream, cuts []byte) {
	whole := read(t, inPieces(t, stream, nil), framing)
	pieces := read(t, inPieces(t, stream, cuts), framing)
	require.Equal(t, whole.messages, pieces.messages)
	require.Equal(t, whole.tail, pieces.tail)
	require.Equal(t, kind(whole.err), kind(pieces.err))

	rest := stream
	for _, msg := range whole.messages {
		span, err := framing.Find(rest, 0)
		require.NoError(t, err)
		require.Positive(t, span.End)
		require.LessOrEqual(t, span.End, len(rest))
		require.True(t, 0 <= span.From && span.From <= span.To && span.To <= span.End)
		require.Equal(t, msg, append([]byte{}, rest[span.From:span.To]...))
		rest = rest[span.End:]
	}
	switch whole.err {
	case io.EOF:
		require.Empty(t, rest)
	case io.ErrUnexpectedEOF:
		require.Equal(t, append([]byte{}, rest...), whole.tail)
	default:
		require.NotEmpty(t, rest)
	}
}

// tryMessages sends parts of data as messages, also truncated, and what has been sent as what it is not.
func tryMessages(t *testing.T, framing frame.Framing, data, cuts []byte) {
	var sent bytes.Buffer
	w, err := frame.NewWriter(&sent, framing)
	require.NoError(t, err)
	var messages [][]byte
	var ends []int
	for i, rest := 0, data; i < 20 && len(rest) > 0; i++ {
		n := len(rest)
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)]))
		}
		before := sent.Len()
		if err := w.Send(rest[:n]); err == nil {
			messages, ends = append(messages, append([]byte{}, rest[:n]...)), append(ends, sent.Len())
		} else {
			require.True(t, errors.Is(err, frame.ErrTooLarge) || errors.Is(err, frame.ErrMalformed) || errors.Is(err, errors.ErrUnsupported) ||
				errors.Is(err, errFunc), "%v", err)
			require.Equal(t, before, sent.Len())
		}
		rest = rest[n:]
	}
	all := read(t, inPieces(t, sent.Bytes(), cuts), framing)
	require.Equal(t, io.EOF, all.err)
	require.Equal(t, messages, all.messages)
	if sent.Len() == 0 {
		return
	}
	at := sent.Len() - 1
	if len(cuts) > 0 {
		at = int(cuts[0]) * 31 % sent.Len()
	}
	truncated := read(t, inPieces(t, sent.Bytes()[:at], cuts), framing)
	whole := 0
	for whole < len(ends) && ends[whole] <= at {
		whole++
	}
	require.Equal(t, messages[:whole:whole], append([][]byte{}, truncated.messages...))
	if at == 0 || whole > 0 && ends[whole-1] == at {
		require.Equal(t, io.EOF, truncated.err)
	} else {
		require.Equal(t, io.ErrUnexpectedEOF, truncated.err)
	}
}
