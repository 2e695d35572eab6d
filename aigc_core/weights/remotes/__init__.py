"""Stores that lie elsewhere: a folder, a bucket, a repository, a web server. See docs/remotes.md."""
