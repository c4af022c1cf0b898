"""One process, one engine: llama.cpp, OpenAI-compatible servers, vLLM, a simulation."""
