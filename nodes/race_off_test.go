//go:build !race

package nodes

const raced = false
