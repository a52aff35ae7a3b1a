"""How the book is made and proven; no reader imports it."""
