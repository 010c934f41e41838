package result

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// histogramJSON is a Histogram in JSON. Only Over and HDR are read again: the rest follows from them.
type histogramJSON struct {
	Summary
	Percentiles []Point `json:"percentiles"`
	HDR         string  `json:"hdr"`
}

// MarshalJSON writes the summary, the curve and the whole of h.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	hdr, err := h.Compress()
	if err != nil {
		return nil, err
	}
	return json.Marshal(histogramJSON{h.Summary(), h.Points(), hdr})
}

// UnmarshalJSON reads what MarshalJSON has written. The input may be anything: it is refused if it is not a histogram of our parameters,
// before much memory is spent on it.
func (h *Histogram) UnmarshalJSON(text []byte) error {
	var read struct {
		Over int64   `json:"over"`
		HDR  *string `json:"hdr"`
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return fmt.Errorf("histogram: %w", err)
	}
	if read.HDR == nil {
		return errors.New("histogram: it has no hdr")
	}
	decoded, err := Decompress(*read.HDR)
	if err != nil {
		return err
	}
	if read.Over < 0 || read.Over > decoded.TotalCount() {
		return fmt.Errorf("histogram: %d of %d values are over its range", read.Over, decoded.TotalCount())
	}
	decoded.Over = read.Over
	*h = *decoded
	return nil
}

// Compress returns h in HdrHistogram's compressed form (V2, base64), a few KB for what takes 200 in memory. Over is not in it.
func (h *Histogram) Compress() (string, error) {
	if h == nil || h.Histogram == nil {
		h = NewHistogram()
	}
	text, err := h.Histogram.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return "", fmt.Errorf("histogram: %w", err)
	}
	return string(text), nil
}

// Decompress reads what Compress has returned. The input may be anything, as for UnmarshalJSON.
func Decompress(text string) (*Histogram, error) {
	p, err := parametersIn(text)
	if err != nil {
		return nil, fmt.Errorf("histogram: %w", err)
	}
	if p != ours {
		return nil, fmt.Errorf("histogram: it is of %v, wanted %v", p, ours)
	}
	decoded, err := hdrhistogram.Decode([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("histogram: %w", err)
	}
	// The decoder notes that the values are in units of 1, which New leaves open: without the note both are the same in every field.
	snapshot := decoded.Export()
	snapshot.IntegerToDoubleConversionRatio = 0
	return &Histogram{Histogram: hdrhistogram.Import(snapshot)}, nil
}

// The layout of the compressed form: two words in front of what is compressed, in which the counts come after a header
// (https://github.com/HdrHistogram/HdrHistogram, AbstractHistogram.encodeIntoCompressedByteBuffer).
const (
	prefixLen = 8
	headerLen = hdrhistogram.ENCODING_HEADER_SIZE
)

// parametersIn reads them from the header of a compressed histogram, without what comes after it. The decoder would make room
// for whatever range stands there, tens of megabytes out of a hundred bytes.
func parametersIn(text string) (parameters, error) {
	compressed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return parameters{}, err
	}
	if len(compressed) < prefixLen {
		return parameters{}, fmt.Errorf("%d bytes are too few", len(compressed))
	}
	reader, err := zlib.NewReader(bytes.NewReader(compressed[prefixLen:]))
	if err != nil {
		return parameters{}, err
	}
	defer reader.Close()
	var header [headerLen]byte
	if _, err := io.ReadFull(reader, header[:]); err != nil {
		return parameters{}, fmt.Errorf("header: %w", err)
	}
	if ratio := math.Float64frombits(binary.BigEndian.Uint64(header[32:])); ratio != 1 {
		return parameters{}, fmt.Errorf("its values are in units of %v, wanted 1", ratio)
	}
	return parameters{
		digits:  int64(int32(binary.BigEndian.Uint32(header[12:]))),
		lowest:  int64(binary.BigEndian.Uint64(header[16:])),
		highest: int64(binary.BigEndian.Uint64(header[24:])),
	}, nil
}
