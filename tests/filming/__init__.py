"""Services that make videos."""
