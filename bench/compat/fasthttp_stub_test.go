package compat_test

func startFasthttpClock() {}
