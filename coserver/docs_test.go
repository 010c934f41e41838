package coserver_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Documents say which tests hold what they promise: in code spans like `package: TestOne, FuzzTwo`. There are such tests, in that package.
func TestDocumentedTestsExist(t *testing.T) {
	known := make(map[string][]string) // by package
	for _, document := range []string{"guarantees.md", "swoole.md"} {
		t.Run(document, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("..", "docs", document))
			require.NoError(t, err)
			named := 0
			for _, span := range regexp.MustCompile(`\x60([a-z/]+):\s+((?:(?:Test|Fuzz)\w+(?:,\s+)?)+)\x60`).FindAllStringSubmatch(string(text), -1) {
				if known[span[1]] == nil {
					known[span[1]] = testsOf(t, span[1])
				}
				for _, name := range strings.FieldsFunc(span[2], func(r rune) bool { return strings.ContainsRune(", \n", r) }) {
					require.Contains(t, known[span[1]], name, "a test of %s", span[1])
					named++
				}
			}
			// None stands where the pattern does not see it.
			outside := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(string(text), -1)
			require.Len(t, outside, named+strings.Count(string(text), "`TestDocumentedTestsExist`"))
			require.Greater(t, named, 50)
		})
	}
}

// testsOf lists the tests and fuzz targets of a package, on whichever system they run.
func testsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(dir), "*_test.go"))
	require.NoError(t, err)
	require.NotEmpty(t, files, dir)
	var names []string
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, match := range declaration.FindAllStringSubmatch(string(text), -1) {
			names = append(names, match[1])
		}
	}
	return names
}
