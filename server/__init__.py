"""The process: settings and wiring, pools, guarded reads, the MCP tools, the command line."""

__version__ = "0.1.0"
