"""Measured facts to pages a person can read: shows, and computes nothing."""
