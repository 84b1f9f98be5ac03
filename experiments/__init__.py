"""The paper's tables and figures, on the simulator and on real logs: `easq experiment NAME`."""
