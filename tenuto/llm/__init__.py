"""LLM: what jobs use of language models: recorded, priced, and logged where a workflow asks for it.

It computes, and knows no database: what is to be kept goes to the ledger of the app that runs the job.
"""

from tenuto.llm.costs import Cost, Costs
from tenuto.llm.debugging import DebugEntry, Debugging
from tenuto.llm.pricing import Price, Pricing
from tenuto.llm.recording import log_request, log_response, record_usage
from tenuto.llm.usage import Usage

__all__ = [
    "Cost",
    "Costs",
    "DebugEntry",
    "Debugging",
    "Price",
    "Pricing",
    "Usage",
    "log_request",
    "log_response",
    "record_usage",
]
