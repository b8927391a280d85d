"""Large JSON bodies, read in a process of their own: a thread would hold everybody else up, and cannot be ended."""
