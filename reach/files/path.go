package files

import (
	"bytes"
	"strings"

	"walt/fault"
)

// place is where a path of a client leads.
type place struct {
	folder string // the name of a node, or of an image behind imagePrefix; "" is the root
	path   string // there, as its own server takes it
	top    bool   // it is the folder itself, by its name alone
}

// imagePrefix begins the names of the folders that are images.
const imagePrefix = "image@"

// parsePath finds out where a path leads, which has one of the forms
//
//	/rpi-3/etc/hosts    rpi-3/etc/hosts      the root of a node is a folder
//	rpi-3:/etc/hosts    rpi-3:notes          as scp writes it; notes is in root's home, as ~/notes
//	/image@tiny/etc     image@tiny:v2:/etc   an image, with its tag
//
// All of it is relative to the root of folders. Above its first name, ".." leads to there, and
// nowhere else: what is below that is left to the server of the folder, which knows its links.
func parsePath(name []byte) (place, error) {
	switch {
	case len(name) > longestPath:
		return place{}, fault.Failedf("the path is too long: %.40q...", name).WithHint("a path has at most %d bytes", longestPath)
	case bytes.IndexByte(name, 0) >= 0:
		return place{}, fault.Failedf("the path has a zero byte: %.80q", name)
	}
	var at place
	for rest := string(name); rest != ""; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		switch {
		case elem == "" || elem == ".":
		case elem == "..":
			at = place{}
		case at.folder != "":
			at.path, at.top = "/"+elem, false
			if rest != "" || bytes.HasSuffix(name, []byte("/")) {
				at.path += "/" + rest
			}
			return at, nil
		default:
			folder, inside := cutFolder(elem)
			if inside == nil {
				at = place{folder: elem, path: "/", top: true}
				continue
			}
			slash := ""
			if rest != "" || bytes.HasSuffix(name, []byte("/")) {
				slash = "/"
			}
			if folder == "" || folder == "." || folder == ".." {
				return place{}, fault.Failedf("the node of %.70q is missing", elem).WithHint("put its name before the colon, as in: rpi-3:/root/")
			}
			if *inside == "" && slash == "" { // scp would put a slash behind it, and mean the home
				return place{}, fault.Failedf("the path of %.70q is missing", elem).WithHint("say where: %.70s~/ is the home of root, %.70s/ the root of its files", elem, elem)
			}
			return place{folder: folder, path: fromHome(*inside + slash + rest)}, nil
		}
	}
	return at, nil
}

// cutFolder splits the first name of a path that has a colon behind the folder; inside is nil
// for one that has none. That of the tag of an image is another one.
func cutFolder(elem string) (folder string, inside *string) {
	image, is := strings.CutPrefix(elem, imagePrefix)
	if !is {
		if folder, in, has := strings.Cut(elem, ":"); has {
			return folder, &in
		}
		return elem, nil
	}
	if name, has := strings.CutSuffix(image, ":"); has {
		return imagePrefix + name, new(string)
	}
	return elem, nil
}

// fromHome is a path behind a colon, relative to where the server of the node begins, which is
// the home of root.
func fromHome(name string) string {
	if name == "~" || strings.HasPrefix(name, "~/") {
		name = strings.TrimLeft(name[1:], "/")
	}
	if name == "" {
		return "."
	}
	return name
}

// show is how a place is written in what users read, and in the paths that clients are told.
func (p place) show() string {
	if p.folder == "" {
		return "/"
	}
	return strings.TrimSuffix("/"+p.folder+"/"+strings.TrimLeft(p.path, "/"), "/")
}
