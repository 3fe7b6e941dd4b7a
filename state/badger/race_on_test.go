//go:build race

package badger

// raced says that these tests look for data races.
const raced = true
