// Package coserver serves each connection with one plain, blocking, sequential function, and runs it at the cost of an
// event callback.
package coserver
