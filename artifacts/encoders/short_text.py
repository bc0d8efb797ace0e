"""TODO."""

from __future__ import annotations

from typing import Any

import torch


class ShortText(torch.nn.Module):
    """CLIP's `encode_text` over the tokens of the longest text alone, in place of all 77 places.

    The tower is causal and reads a text at its end token, so what pads it after that changes nothing.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name in (
            "token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "attn_mask",
        ):  # fmt: skip
            setattr(self, name, getattr(model, name))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        parts: Any = self
        ends = tokens.argmax(dim=-1)  # the end token has the highest number
        length = int(ends.max()) + 1
        kind = parts.transformer.get_cast_dtype()
        x = parts.token_embedding(tokens[:, :length]).to(kind) + parts.positional_embedding[:length].to(kind)
        x = parts.ln_final(parts.transformer(x, attn_mask=parts.attn_mask[:length, :length]))
        x = x[torch.arange(len(x), device=x.device), ends]
        projection = parts.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
