package commands

import (
	"context"
	"slices"
	"strings"

	"walt/consent"
	"walt/fault"
	"walt/images"
	"walt/nodes"
)

// imagePrefix is how paths of scp begin that are in an image.
const imagePrefix = "image@"

// nodeCopy copies files on the side of the server.
func nodeCopy(ctx context.Context, c *Call) error {
	var places, named []string
	for i, arg := range c.args {
		place, node, err := c.place(ctx, arg)
		if err != nil {
			return err
		}
		if node == "" && i == 1 {
			return fault.Failedf("%s is an image, which cannot be changed", arg).WithHint("copy to a node that boots a clone of it")
		}
		places = append(places, place)
		if node != "" && !slices.Contains(named, node) {
			named = append(named, node)
		}
	}
	set, err := nodes.ParseSet(strings.Join(named, ","))
	if err != nil {
		return err
	}
	var agreed consent.Agreement
	var found []nodes.DeviceStatus
	err = c.withConsent(ctx, "Copy files on", func(given consent.Agreement) error {
		agreed = given
		found, err = c.Lab.NodesWithConsent(ctx, c.User, set, given)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := c.wake(ctx, found); err != nil {
		return err
	}
	what, err := c.Copy(ctx, c.User, agreed, places[0], places[1], c.on("recursive"))
	if err == nil {
		c.note("Copied %s.", what)
	}
	return err
}

// place is an argument NAME:PATH as paths of scp are written, and the node that it is on, ""
// for an image.
func (c *Call) place(ctx context.Context, arg string) (place, node string, err error) {
	at := strings.Index(arg, ":/")
	if at < 0 {
		at = strings.LastIndexByte(arg, ':')
	}
	if at <= 0 {
		return "", "", fault.Usagef("%q is on no node", arg).WithHint("write NODE:PATH or IMAGE:PATH; from and to your own machine copies scp, as in scp FILE lab:rpi-3:/root/")
	}
	name, path := arg[:at], arg[at+1:]
	if path == "" {
		path = "~"
	}
	image, isImage := strings.CutPrefix(name, imagePrefix)
	if strings.Contains(image, "/") { // as the images of others are called
		_, err := images.ParseOwn(c.User, image)
		return "", "", err
	}
	if !isImage {
		found, err := c.Lab.Named(ctx, []nodes.Name{nodes.Name(name)})
		if err != nil {
			return "", "", err
		}
		_, other := images.ParseName(c.User, name)
		if _, err := c.Images.Own(ctx, c.User, name); len(found) > 0 || other != nil || err != nil {
			return name + ":" + path, name, nil // what is neither is missed among nodes
		}
	}
	return imagePrefix + image + ":/" + strings.TrimLeft(path, "/~"), "", nil
}

// completePlace completes what is before a path on a node.
func completePlace(ctx context.Context, c *Call, word string) []string {
	return places(completeNode(ctx, c, word), word)
}

// completeSource completes what is before a path on a node or in an image.
func completeSource(ctx context.Context, c *Call, word string) []string {
	return places(append(completeNode(ctx, c, word), completeImage(ctx, c, word)...), word)
}

// places are names with the colon behind which a path is, unless the word has one.
func places(names []string, word string) (all []string) {
	if strings.Contains(word, ":") {
		return nil
	}
	for _, name := range names {
		all = append(all, name+":")
	}
	return all
}
