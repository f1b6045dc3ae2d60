terraform {
  # No provider at all: the modules work over SSH.
  required_version = ">= 1.4"
}
