import os
import sys

TESTS = os.path.join(os.path.dirname(__file__), "..")
sys.path[:0] = [os.path.join(TESTS, "e2e"), TESTS]
