// Package compat has no code but tests: well-known network libraries run unchanged on strand's listeners and dialers, and the
// same tests run on package net's, so that a failure shows whose fault it is. It is a module of its own, so that nobody
// who embeds strand sees these libraries.
package compat
