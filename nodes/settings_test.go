package nodes

import "testing"

func TestMebibytes(t *testing.T) {
	for text, want := range map[string]int{
		"512M": 512, "2G": 2048, "2g": 2048, "1m": 1, "1024G": 1 << 20, "1048576M": 1 << 20,
		"": 0, "M": 0, "512": 0, "1GM": 0, "1MM": 0, "2GB": 0, "0G": 0, "-1G": 0, "1.5G": 0, "1 G": 0, "1025G": 0, "1048577M": 0, "9999999999999999999G": 0,
	} {
		got, err := mebibytes(text)
		if (err == nil) != (want > 0) || want > 0 && got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}
