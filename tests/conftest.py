"""Puts this folder on the import path, so that tests in any folder can share what lies here."""
