package initrd

import (
	"bytes"
	"debug/elf"
	"strings"
)

// firmwareNames returns the files that a module names with MODULE_FIRMWARE. What is no
// module names none.
func firmwareNames(file []byte) (names []string) {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil
	}
	section := f.Section(".modinfo")
	if section == nil || section.Type != elf.SHT_PROGBITS || section.Flags&elf.SHF_COMPRESSED != 0 {
		return nil
	}
	info, err := section.Data()
	if err != nil {
		return nil
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if name, ok := strings.CutPrefix(field, "firmware="); ok {
			names = append(names, name)
		}
	}
	return names
}
