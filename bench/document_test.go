package bench

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInsertTable(t *testing.T) {
	var table bytes.Buffer
	require.NoError(t, testReport().WriteTable(&table))
	document := "# Title\n" + tableBegin + "old\n" + tableEnd + "the rest\n" + tableEnd
	want := "# Title\n" + tableBegin + "```\n" + table.String() + "```\n" + tableEnd + "the rest\n" + tableEnd
	got, err := testReport().InsertTable([]byte(document))
	require.NoError(t, err)
	require.Equal(t, want, string(got))
	got, err = testReport().InsertTable(got)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "the same again")

	for _, document := range []string{"", tableBegin + "old\n", tableEnd + tableBegin} {
		_, err := testReport().InsertTable([]byte(document))
		require.Equal(t, errNoPlace, err)
	}
}

// What documents say was measured is what stands in the files beside them.
func TestDocumentsHaveWhatWasMeasured(t *testing.T) {
	for document, results := range map[string]string{"../README.md": "results/readme.json", "../docs/measured.md": "results/workloads.json"} {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		report, err := ReadReport(results)
		require.NoError(t, err)
		want, err := report.InsertTable(text)
		require.NoError(t, err)
		require.Equal(t, string(want), string(text), "make results writes it")
	}
}
