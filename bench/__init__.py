"""Measurements that print figures with the device, the versions and the date that they belong to."""
