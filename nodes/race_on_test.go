//go:build race

package nodes

// raced says that these tests look for data races, which takes several times as long.
const raced = true
