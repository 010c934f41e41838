package coserver

import "slices"

// network is the name of one in a byte: what errors call it.
type network uint8

var networks = [...]string{"tcp", "tcp4", "tcp6", "unix", "udp", "udp4", "udp6"}

// networkOf returns the network of a name that Listen or Dial has accepted.
func networkOf(name string) network { return network(max(0, slices.Index(networks[:], name))) }

// String returns the name, as package net has it.
func (n network) String() string { return networks[n] }
