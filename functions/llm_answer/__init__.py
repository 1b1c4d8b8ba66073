"""llm-answer: writes the answer to a question from the passages that were found, with its citations."""
