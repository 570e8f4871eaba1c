"""Runs that were broken off: what they had reached lies in a file, by what decides their result, until they end."""
