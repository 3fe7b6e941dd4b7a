package nodes

const stormIn = "WALT_TEST_STORM_IN"

func storm(dir string) error { return nil }
