package frame_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/strand-net/strand/coserver/frame"
)

// sample is a framing, and how to make a message of about size bytes for it.
type sample struct {
	name    string
	framing frame.Framing
	message func(r *rand.Rand, size int) []byte
}

// samples has every framing at least once.
func samples() []sample {
	kept := func(f frame.Framing) func(*rand.Rand, int) []byte {
		return func(r *rand.Rand, size int) []byte {
			framed, err := frame.Append(nil, f, noise(r, size))
			if err != nil {
				panic(err)
			}
			return framed
		}
	}
	big := binary.BigEndian
	return []sample{
		{"length 1", frame.LengthField{Size: 1}, func(r *rand.Rand, size int) []byte { return noise(r, size%256) }},
		{"length 2", frame.LengthField{Size: 2, Order: binary.LittleEndian}, func(r *rand.Rand, size int) []byte { return noise(r, size%65536) }},
		{"length 4", frame.LengthField{Size: 4}, noise},
		{"length 4 kept", frame.LengthField{Size: 4, Keep: true}, kept(frame.LengthField{Size: 4})},
		{"length 4 counts itself", frame.LengthField{Size: 4, Adjust: -4}, noise},
		{"length 8", frame.LengthField{Size: 8, Order: binary.LittleEndian}, noise},
		{"header of 10", frame.LengthField{Size: 4, Offset: 6, Keep: true}, func(r *rand.Rand, size int) []byte {
			msg := noise(r, 10+size)
			big.PutUint32(msg[6:], uint32(size))
			return msg
		}},
		{"func", frame.Func{Length: bigEndian16And1}, func(r *rand.Rand, size int) []byte {
			msg := noise(r, 3+size)
			msg[0], msg[1], msg[2] = byte(size>>16), byte(size>>8), byte(size)
			return msg
		}},
		{"delimiter", frame.Delimiter{Delim: "\r\n\r\n"}, letters},
		{"delimiter kept", frame.Delimiter{Delim: "--and a delimiter that is longer than anybody needs--", Keep: true},
			func(r *rand.Rand, size int) []byte {
				return append(letters(r, size), "--and a delimiter that is longer than anybody needs--"...)
			}},
		{"line", frame.Line{}, letters},
		{"line crlf", frame.Line{CRLF: true}, letters},
		{"line kept", frame.Line{Keep: true}, func(r *rand.Rand, size int) []byte { return append(letters(r, size), '\n') }},
		{"fixed", frame.Fixed{Size: 1000}, func(r *rand.Rand, _ int) []byte { return noise(r, 1000) }},
		{"uvarint", frame.Uvarint{}, noise},
		{"uvarint kept", frame.Uvarint{Keep: true}, kept(frame.Uvarint{})},
		{"mqtt", frame.MQTT{}, func(r *rand.Rand, size int) []byte {
			msg := []byte{0x30}
			msg = binary.AppendUvarint(msg, uint64(size)) // the same encoding
			return append(msg, noise(r, size)...)
		}},
	}
}

// bigEndian16And1 is a length function: of a body, in 3 bytes.
func bigEndian16And1(data []byte) (int, error) {
	if len(data) < 3 {
		return 0, nil
	}
	return 3 + (int(data[0])<<16 | int(data[1])<<8 | int(data[2])), nil
}

// noise is n bytes of any value.
func noise(r *rand.Rand, n int) []byte {
	msg := make([]byte, n)
	for i := range msg {
		msg[i] = byte(r.Uint32())
	}
	return msg
}

// letters is n bytes that are no end of any message, with parts of such ends among them.
func letters(r *rand.Rand, n int) []byte {
	msg := noise(r, n)
	for i, b := range msg {
		if msg[i] = 'a' + b%26; b > 250 {
			msg[i] = '-'
		}
	}
	return msg
}

func onEachFraming(t *testing.T, test func(t *testing.T, s sample, r *rand.Rand)) {
	for i, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			require.NoError(t, s.framing.Validate())
			test(t, s, rand.New(rand.NewPCG(1, uint64(i))))
		})
	}
}

// newReader is NewReader for a framing that is right.
func newReader(t testing.TB, r io.Reader, f frame.Framing) *frame.Reader {
	t.Helper()
	reader, err := frame.NewReader(r, f)
	require.NoError(t, err)
	return reader
}

// stream is messages as they are sent.
func stream(t testing.TB, f frame.Framing, messages ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := frame.NewWriter(&out, f)
	require.NoError(t, err)
	for _, msg := range messages {
		require.NoError(t, w.Send(msg))
	}
	return out.Bytes()
}

// cut is a Reader of data in pieces of random sizes, small ones for the most part.
func cut(r *rand.Rand, data []byte) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if len(data) == 0 {
			return 0, io.EOF
		}
		most := 1 << r.IntN(17)
		n := copy(p[:min(len(p), 1+r.IntN(most))], data)
		data = data[n:]
		return n, nil
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// What is sent is received, whole and in order, however it is cut.
func TestRoundTrip(t *testing.T) {
	onEachFraming(t, func(t *testing.T, s sample, r *rand.Rand) {
		var messages [][]byte
		for range 100 {
			messages = append(messages, s.message(r, r.IntN(1<<r.IntN(17))))
		}
		sent := stream(t, s.framing, messages...)
		for name, source := range map[string]io.Reader{
			"cut": cut(r, sent), "whole": bytes.NewReader(sent), "end with the data": iotest.DataErrReader(bytes.NewReader(sent)),
		} {
			reader := newReader(t, source, s.framing)
			for i, want := range messages {
				msg, err := reader.Recv()
				require.NoError(t, err, "%s: message %d", name, i)
				require.True(t, bytes.Equal(want, msg), "%s: message %d", name, i)
			}
			msg, err := reader.Recv()
			require.Equal(t, io.EOF, err)
			require.Empty(t, msg)
		}
	})
}

// A stream that ends in the middle of a message gives all that came before, and what there is of that one.
func TestTruncated(t *testing.T) {
	onEachFraming(t, func(t *testing.T, s sample, r *rand.Rand) {
		first, second := s.message(r, 100), s.message(r, 70_000)
		one := stream(t, s.framing, first)
		both := stream(t, s.framing, first, second)
		for _, n := range []int{len(one), len(one) + 1, len(one) + 2, len(one) + r.IntN(len(both)-len(one)-1) + 1, len(both) - 1} {
			reader := newReader(t, bytes.NewReader(both[:n]), s.framing)
			msg, err := reader.RecvSlice()
			require.NoError(t, err)
			require.Equal(t, first, msg)
			msg, err = reader.RecvSlice()
			if n == len(one) {
				require.Equal(t, io.EOF, err)
			} else {
				require.Equal(t, io.ErrUnexpectedEOF, err)
				require.True(t, bytes.Equal(both[len(one):n], msg))
			}
			_, err = reader.RecvSlice()
			require.Equal(t, io.EOF, err)
		}
	})
}

// No framing is taken in by a message that is too large, whoever sends it.
func TestTooLarge(t *testing.T) {
	const most = 1000
	for name, c := range map[string]struct {
		small, large frame.Framing
		message      func(n int) []byte // that is n bytes with its framing
	}{
		"length":    {frame.LengthField{Size: 4, Max: most}, frame.LengthField{Size: 4}, func(n int) []byte { return make([]byte, n-4) }},
		"delimiter": {frame.Delimiter{Delim: "ab", Max: most}, frame.Delimiter{Delim: "ab"}, func(n int) []byte { return make([]byte, n-2) }},
		"line":      {frame.Line{Max: most}, frame.Line{}, func(n int) []byte { return make([]byte, n-1) }},
		"line crlf": {frame.Line{Max: most, CRLF: true}, frame.Line{CRLF: true}, func(n int) []byte { return make([]byte, n-2) }},
		"uvarint":   {frame.Uvarint{Max: most}, frame.Uvarint{}, func(n int) []byte { return make([]byte, n-2) }},
		"mqtt": {frame.MQTT{Max: most}, frame.MQTT{}, func(n int) []byte {
			return append(binary.AppendUvarint([]byte{0x30}, uint64(n-3)), make([]byte, n-3)...)
		}},
		"func": {frame.Func{Length: bigEndian16And1, Max: most}, frame.Func{Length: bigEndian16And1}, func(n int) []byte {
			msg := make([]byte, n)
			msg[1], msg[2] = byte((n-3)>>8), byte(n-3)
			return msg
		}},
	} {
		t.Run(name, func(t *testing.T) {
			fits := stream(t, c.small, c.message(most))
			require.Len(t, fits, most)
			msg, err := newReader(t, bytes.NewReader(fits), c.small).Recv()
			require.NoError(t, err)
			require.Equal(t, c.message(most), msg)

			w, err := frame.NewWriter(io.Discard, c.small)
			require.NoError(t, err)
			require.ErrorIs(t, w.Send(c.message(most+1)), frame.ErrTooLarge)
			require.NoError(t, w.Send(c.message(most)), "nothing of the other one has been sent")

			over := stream(t, c.large, c.message(most+1))
			for _, source := range []io.Reader{bytes.NewReader(over), iotest.OneByteReader(bytes.NewReader(over))} {
				reader := newReader(t, source, c.small)
				for range 2 {
					_, err = reader.Recv()
					require.ErrorIs(t, err, frame.ErrTooLarge)
					require.ErrorContains(t, err, "1000")
				}
			}
		})
	}
}

// faults.md M5: lengths that cannot be are found out as soon as they are read, and cost no memory.
func TestHostileLengths(t *testing.T) {
	const most = 1 << 30
	for name, c := range map[string]struct {
		framing frame.Framing
		bytes   string
		want    error
	}{
		"all bits of 8 bytes":      {frame.LengthField{Size: 8, Max: most}, "\xff\xff\xff\xff\xff\xff\xff\xff", frame.ErrTooLarge},
		"the largest int64":        {frame.LengthField{Size: 8, Max: most}, "\x7f\xff\xff\xff\xff\xff\xff\xff", frame.ErrTooLarge},
		"half of it":               {frame.LengthField{Size: 8, Max: most, Adjust: 1 << 20}, "\x3f\xff\xff\xff\xff\xff\xff\xff", frame.ErrTooLarge},
		"all bits of 4 bytes":      {frame.LengthField{Size: 4}, "\xff\xff\xff\xff", frame.ErrTooLarge},
		"less than the header":     {frame.LengthField{Size: 4, Adjust: -4}, "\x00\x00\x00\x03", frame.ErrMalformed},
		"less than what is struck": {frame.LengthField{Size: 2, Strip: 8}, "\x00\x05hello", frame.ErrMalformed},
		"uvarint of 65 bits":       {frame.Uvarint{}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", frame.ErrMalformed},
		"uvarint of 11 bytes":      {frame.Uvarint{}, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", frame.ErrMalformed},
		"uvarint of 64 bits":       {frame.Uvarint{Max: most}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", frame.ErrTooLarge},
		"mqtt of 5 bytes":          {frame.MQTT{Max: most}, "\x30\x80\x80\x80\x80\x00", frame.ErrMalformed},
		"mqtt at its most":         {frame.MQTT{}, "\x30\xff\xff\xff\x7f", frame.ErrTooLarge},
		"a negative length":        {frame.Func{Length: func([]byte) (int, error) { return -1, nil }}, "x", frame.ErrMalformed},
		"a failing function":       {frame.Func{Length: func([]byte) (int, error) { return 1, io.ErrClosedPipe }}, "x", io.ErrClosedPipe},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newReader(t, iotest.OneByteReader(bytes.NewReader([]byte(c.bytes))), c.framing).Recv()
			require.ErrorIs(t, err, c.want)
		})
	}
	t.Run("memory", func(t *testing.T) {
		asked := 0
		source := readerFunc(func(p []byte) (int, error) {
			asked += len(p)
			if asked == len(p) {
				return copy(p, "\x3f\xff\xff\x00and nothing more"), nil
			}
			return 0, io.EOF
		})
		tail, err := newReader(t, source, frame.LengthField{Size: 4, Max: 1<<31 - 1}).Recv()
		require.Equal(t, io.ErrUnexpectedEOF, err)
		require.Equal(t, "\x3f\xff\xff\x00and nothing more", string(tail))
		require.LessOrEqual(t, asked, 16<<10)
	})
}

// A timeout loses nothing: the next call gets the same message.
func TestErrorInMidMessage(t *testing.T) {
	onEachFraming(t, func(t *testing.T, s sample, r *rand.Rand) {
		want := s.message(r, 100_000)
		source := iotest.OneByteReader(bytes.NewReader(stream(t, s.framing, want)))
		fails := false
		reader := newReader(t, readerFunc(func(p []byte) (int, error) {
			if fails = !fails && r.IntN(100) == 0; fails {
				return 0, iotest.ErrTimeout
			}
			return source.Read(p)
		}), s.framing)
		for {
			msg, err := reader.Recv()
			if err == iotest.ErrTimeout {
				require.Nil(t, msg)
				continue
			}
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, msg))
			return
		}
	})
}

// A delimiter is looked for among what has come since the last look, and nowhere else.
func TestNoByteIsLookedAtTwice(t *testing.T) {
	for name, c := range map[string]struct {
		framing frame.Framing
		end     string
	}{
		"delimiter": {frame.Delimiter{Delim: "##"}, "##"}, "one byte": {frame.Delimiter{Delim: "#"}, "#"}, "line": {frame.Line{}, "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			data := bytes.Repeat([]byte("x"), 100)
			span, err := c.framing.Find(data, 0)
			require.NoError(t, err)
			require.Zero(t, span.End)
			require.Equal(t, len(data)-len(c.end)+1, span.Seen)
			copy(data[10:], c.end) // it has seen this place, and does not come back
			data = append(data, "yyy"...)
			again, err := c.framing.Find(data, span.Seen)
			require.NoError(t, err)
			require.Zero(t, again.End)
			require.Equal(t, len(data)-len(c.end)+1, again.Seen)
			found, err := c.framing.Find(append(data, c.end...), again.Seen)
			require.NoError(t, err)
			require.Equal(t, len(data)+len(c.end), found.End)
			require.Equal(t, len(data), found.To)
		})
	}
	t.Run("across two pieces", func(t *testing.T) {
		source := iotest.OneByteReader(bytes.NewReader([]byte("ab a ab abc abcd.")))
		msg, err := newReader(t, source, frame.Delimiter{Delim: "abcd"}).Recv()
		require.NoError(t, err)
		require.Equal(t, "ab a ab abc ", string(msg))
	})
}

// What cannot be received as it is, is not sent.
func TestMalformedMessages(t *testing.T) {
	for _, c := range []struct {
		framing frame.Framing
		msg     string
	}{
		{frame.Line{}, "two\nlines"}, {frame.Line{}, "a carriage return\r"}, {frame.Line{Keep: true}, "no end"}, {frame.Line{Keep: true}, "two\nlines\n"},
		{frame.Line{Keep: true}, ""}, {frame.Line{CRLF: true}, "\n"},
		{frame.Delimiter{Delim: "aba"}, "xaba"}, {frame.Delimiter{Delim: "aba"}, "xab"}, {frame.Delimiter{Delim: "aa"}, "xa"},
		{frame.Delimiter{Delim: "ab", Keep: true}, "x"}, {frame.Delimiter{Delim: "ab", Keep: true}, "xabab"},
		{frame.LengthField{Size: 2, Keep: true}, "\x00"}, {frame.LengthField{Size: 2, Keep: true}, "\x00\x02x"}, {frame.LengthField{Size: 2, Keep: true}, "\x00\x00x"},
		{frame.LengthField{Size: 2, Adjust: 4}, "123"},
		{frame.Fixed{Size: 2}, "1"}, {frame.Uvarint{Keep: true}, "\x02x"}, {frame.MQTT{}, "\x30\x02x"}, {frame.MQTT{}, "\x30"},
		{frame.Func{Length: bigEndian16And1}, "\x00\x00\x02x"},
	} {
		var out bytes.Buffer
		w, err := frame.NewWriter(&out, c.framing)
		require.NoError(t, err)
		require.ErrorIs(t, w.Send([]byte(c.msg)), frame.ErrMalformed, "%#v %q", c.framing, c.msg)
		require.Zero(t, out.Len())
	}
	for _, c := range []struct {
		framing frame.Framing
		msg     string
	}{{frame.LengthField{Size: 1}, string(make([]byte, 256))}, {frame.Fixed{Size: 2}, "123"}} {
		_, err := frame.Append(nil, c.framing, []byte(c.msg))
		require.ErrorIs(t, err, frame.ErrTooLarge)
	}
	for _, f := range []frame.LengthField{{Size: 2, Offset: 1}, {Size: 2, Strip: 4}, {Size: 2, Strip: 1}} {
		_, err := frame.Append(nil, f, []byte("x"))
		require.ErrorContains(t, err, "Strip")
	}
}

// What lies beside a message that looks like an end is none.
func TestAlmostEnds(t *testing.T) {
	for _, c := range []struct {
		framing frame.Framing
		stream  string
		want    []string
	}{
		{frame.Line{}, "one\rtwo\r\n\r\n\n\r\r\nlast\n", []string{"one\rtwo", "", "", "\r", "last"}},
		{frame.Line{Keep: true}, "one\r\n\ntwo\n", []string{"one\r\n", "\n", "two\n"}},
		{frame.Delimiter{Delim: "aa"}, "aaab aa", []string{"", "ab "}},
		{frame.LengthField{Size: 2, Offset: 1, Adjust: 1}, "H\x00\x02Txx", []string{"Txx"}},
		{frame.LengthField{Size: 2, Offset: 1, Adjust: 1, Strip: 4}, "H\x00\x02TxxH\x00\x00T", []string{"xx", ""}},
		{frame.LengthField{Size: 2, Offset: 1, Adjust: -3}, "H\x00\x05xx", []string{"xx"}},
		{frame.LengthField{Size: 2, Strip: 1}, "\x00\x02xx", []string{"\x02xx"}},
		{frame.Uvarint{}, "\x81\x00x\x00", []string{"x", ""}},
	} {
		reader := newReader(t, iotest.OneByteReader(bytes.NewReader([]byte(c.stream))), c.framing)
		var got []string
		for msg, err := range reader.Messages() {
			require.NoError(t, err)
			got = append(got, string(msg))
		}
		require.Equal(t, c.want, got, "%#v", c.framing)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		framing frame.Framing
		want    []string
	}{
		{frame.LengthField{}, []string{"LengthField.Size is 0, want 1, 2, 4 or 8"}},
		{frame.LengthField{Size: 3, Offset: -1, Adjust: -1 << 21, Strip: -1}, []string{"LengthField.Size is 3", "LengthField.Offset is -1", "LengthField.Adjust is -2097152",
			"LengthField.Strip is -1"}},
		{frame.LengthField{Size: 4, Keep: true, Strip: 4}, []string{"LengthField.Strip is set, and LengthField.Keep as well"}},
		{frame.LengthField{Size: 4, Offset: 6, Max: 9}, []string{"LengthField.Max is 9, want 0 or 10 or more"}},
		{frame.Func{Max: -1}, []string{"Func.Length is nil", "Func.Max is -1"}},
		{frame.Delimiter{}, []string{"Delimiter.Delim is empty"}},
		{frame.Delimiter{Delim: "abc", Max: 2}, []string{"Delimiter.Max is 2, want 0 or 3 or more"}},
		{frame.Line{Max: -1}, []string{"Line.Max is -1"}},
		{frame.Line{CRLF: true, Keep: true}, []string{"Line.CRLF is set"}},
		{frame.Fixed{}, []string{"Fixed.Size is 0, want 1 or more"}},
		{frame.Uvarint{Max: -1}, []string{"Uvarint.Max is -1"}},
		{frame.MQTT{Max: 1}, []string{"MQTT.Max is 1, want 0 or 2 or more"}},
		{nil, []string{"the framing is nil"}},
	} {
		_, readErr := frame.NewReader(nil, c.framing)
		_, writeErr := frame.NewWriter(nil, c.framing)
		for _, err := range []error{
			readErr, writeErr, newReader(t, nil, frame.Line{}).SetFraming(c.framing), new(frame.Writer).SetFraming(c.framing),
		} {
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		}
	}
}

// A protocol gives way to another: what has been read already is of the other.
func TestSetFraming(t *testing.T) {
	var out bytes.Buffer
	w, err := frame.NewWriter(&out, frame.Line{})
	require.NoError(t, err)
	require.NoError(t, w.Send([]byte("switch")))
	require.NoError(t, w.SetFraming(frame.LengthField{Size: 4}))
	require.NoError(t, w.Send([]byte("one\n")))
	reader := newReader(t, &out, frame.Line{})
	msg, err := reader.Recv()
	require.NoError(t, err)
	require.Equal(t, "switch", string(msg))
	require.NoError(t, reader.SetFraming(frame.LengthField{Size: 4}))
	msg, err = reader.Recv()
	require.NoError(t, err)
	require.Equal(t, "one\n", string(msg))
	out.WriteString("\x00\x00\x00\x01xand more")
	_, err = reader.Recv()
	require.NoError(t, err)
	require.Equal(t, "and more", string(reader.Rest()))
	require.Empty(t, reader.Rest())
}

// Nothing is sent after a message of which a part is missing.
func TestCutShort(t *testing.T) {
	for _, size := range []int{10, 100_000} {
		var out bytes.Buffer
		room := 3
		w, err := frame.NewWriter(writerFunc(func(p []byte) (int, error) {
			n := min(len(p), room)
			room -= n
			out.Write(p[:n])
			if n < len(p) {
				return n, iotest.ErrTimeout
			}
			return n, nil
		}), frame.LengthField{Size: 2 << (size / 100_000)})
		require.NoError(t, err)
		room = 0
		require.ErrorIs(t, w.Send(make([]byte, size)), iotest.ErrTimeout)
		room = 1 << 20
		require.NoError(t, w.Send(make([]byte, size)), "nothing of it had been sent")
		room = 3
		err = w.Send(make([]byte, size))
		require.ErrorIs(t, err, iotest.ErrTimeout)
		require.ErrorIs(t, err, frame.ErrCutShort)
		room = 1 << 20
		before := out.Len()
		require.ErrorIs(t, w.Send([]byte("more")), frame.ErrCutShort)
		require.Equal(t, before, out.Len())
	}
	w, err := frame.NewWriter(writerFunc(func([]byte) (int, error) { return 1, nil }), frame.Line{})
	require.NoError(t, err)
	require.ErrorIs(t, w.Send([]byte("x")), io.ErrShortWrite)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Whoever reads messages one after the other allocates nothing for it.
func TestReaderDoesNotAllocate(t *testing.T) {
	onEachFraming(t, func(t *testing.T, s sample, r *rand.Rand) {
		msg := s.message(r, 100)
		framed := stream(t, s.framing, msg)
		w, err := frame.NewWriter(io.Discard, s.framing)
		require.NoError(t, err)
		reader := newReader(t, bytes.NewReader(bytes.Repeat(framed, 2000)), s.framing)
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			if _, err := reader.RecvSlice(); err != nil {
				t.Error(err)
			}
			if err := w.Send(msg); err != nil {
				t.Error(err)
			}
		}))
	})
}

// The memory of a large message is given back.
func TestReaderGivesBack(t *testing.T) {
	f := frame.LengthField{Size: 4, Max: 64 << 20}
	sent := append(stream(t, f, make([]byte, 32<<20)), stream(t, f, []byte("small"))...)
	largest := 0
	source := bytes.NewReader(sent)
	reader := newReader(t, readerFunc(func(p []byte) (int, error) {
		largest = max(largest, len(p))
		return source.Read(p[:min(len(p), 1<<20)])
	}), f)
	msg, err := reader.Recv()
	require.NoError(t, err)
	require.Len(t, msg, 32<<20)
	require.Greater(t, largest, 1<<20)
	largest = 0
	msg, err = reader.Recv()
	require.NoError(t, err)
	require.Equal(t, "small", string(msg))
	require.LessOrEqual(t, largest, 64<<10)
}

func TestReaderMisbehaves(t *testing.T) {
	for name, read := range map[string]func(p []byte) (int, error){
		"nothing":  func([]byte) (int, error) { return 0, nil },
		"negative": func([]byte) (int, error) { return -1, nil },
		"too much": func(p []byte) (int, error) { return len(p) + 1, nil },
	} {
		_, err := newReader(t, readerFunc(read), frame.Line{}).Recv()
		require.Error(t, err, name)
	}
	_, err := newReader(t, readerFunc(func([]byte) (int, error) { return 0, nil }), frame.Line{}).Recv()
	require.Equal(t, io.ErrNoProgress, err)
}

// A loop over messages ends with the stream, or with its first error.
func TestMessages(t *testing.T) {
	reader := newReader(t, bytes.NewReader([]byte("one\ntwo\nthr")), frame.Line{})
	var got []string
	for msg, err := range reader.Messages() {
		got = append(got, fmt.Sprint(string(msg), " ", err))
		if len(got) == 1 {
			break
		}
	}
	for msg, err := range reader.Messages() {
		got = append(got, fmt.Sprint(string(msg), " ", err))
	}
	for range reader.Messages() {
		t.Error("something came after the end")
	}
	require.Equal(t, []string{"one <nil>", "two <nil>", "thr unexpected EOF"}, got)
}
