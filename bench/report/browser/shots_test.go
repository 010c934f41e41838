package browser_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

var shots = flag.String("shots", "", "write pictures of the pages to this folder, for people to look at")

// TestShots takes pictures of the whole page at the widths and in the colours that it is made for. Its assertion is that a picture has as many
// pixels as the page; the rest is for people, with -shots.
func TestShots(t *testing.T) {
	for _, width := range []int64{360, 768, 1600} {
		for _, dark := range []bool{false, true} {
			name := fmt.Sprintf("%d-%s", width, map[bool]string{false: "light", true: "dark"}[dark])
			t.Run(name, func(t *testing.T) {
				for _, runs := range []int{1, 3} {
					p := open(t, view{width, 900, dark}, several(runs)...)
					picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
					require.NoError(t, err)
					if *shots != "" {
						require.NoError(t, os.WriteFile(filepath.Join(*shots, fmt.Sprintf("%s-%d.png", name, runs)), picture, 0o644))
					}
				}
			})
		}
	}
}
