//go:build race

package e2e

// raced says that these tests look for data races, so that the server does too.
const raced = true
