// Package browser has no code but tests: the pages of package report, opened in a real Chromium. It is a module of its own, so that nobody who
// embeds strand sees what drives a browser.
package browser
