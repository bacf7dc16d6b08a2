"""Chat clients: they send a teacher's prompts to a provider, within its limits, and keep every reply.

factory   from the settings to a client
client    DirectClient (one call a request) and StoredClient (stored replies only)
batch/    BatchClient (OpenAI's Batch API)
limits    rate limits, the cost cap, and the pause before a retry
store     replies.jsonl: every reply that was paid for
prices    what a call costs
wire      types and protocols; what an HTTP error means
openai    one request to OpenAI or a compatible server
gemini    one request to Gemini
"""
