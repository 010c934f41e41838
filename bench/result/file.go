package result

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file that comes to be whole or not at all: it is written beside its place, and Commit moves it there. It is for one goroutine.
type File struct {
	*bufio.Writer
	file *os.File
	path string
}

// Create begins a file that will be at path. Commit or Abort must follow.
func Create(path string) (*File, error) {
	file, err := createBeside(path)
	if err != nil {
		return nil, err
	}
	return &File{bufio.NewWriter(file), file, path}, nil
}

func createBeside(path string) (*os.File, error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	var failed *fs.PathError
	if errors.As(err, &failed) {
		failed.Path = path // nobody has asked for the other one
	}
	return file, err
}

// Commit puts the file in its place, instead of one that may be there. If it fails, nothing has changed there.
func (f *File) Commit() error {
	err := f.Flush()
	if err == nil {
		err = f.file.Chmod(0o644) // CreateTemp makes it for its owner alone
	}
	if err == nil {
		err = f.file.Sync() // a full disk may tell only now
	}
	if closeErr := f.file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.file.Name(), f.path)
	}
	if err != nil {
		os.Remove(f.file.Name())
	}
	return err
}

// Abort throws away what was written. After Commit it does nothing.
func (f *File) Abort() {
	if f.file.Close() == nil {
		os.Remove(f.file.Name())
	}
}

// WriteJSON writes v to a file, whole or not at all.
func WriteJSON(path string, v any) error {
	file, err := Create(path)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(file)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		file.Abort()
		return err
	}
	return file.Commit()
}

// CheckFile reports whether a file could be written to path, before the time for its content is spent.
func CheckFile(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory", path)
	}
	file, err := createBeside(path)
	if err != nil {
		return err
	}
	file.Close()
	return os.Remove(file.Name())
}
