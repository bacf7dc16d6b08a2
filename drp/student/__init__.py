"""The student model: its prompt and response text, and the engines that sample from it."""
