"""Weeks of frame numbers on a virtual clock: does anything drift, wrap or get lost that no test can wait for?"""
