"""Attention: an nn.MultiheadAttention whose heads can be removed; the size of a head is fixed."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

__all__ = ["MultiheadAttention", "free_heads"]


class MultiheadAttention(nn.MultiheadAttention):
    """nn.MultiheadAttention whose heads can be removed: same parameters, names and results.

    torch's own class computes the size of a head as embed_dim / num_heads, which is wrong once a
    head is removed. `free_heads` converts an existing module.
    """

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend; see `torch.nn.MultiheadAttention.forward`."""
        batched = query.dim() == 3
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        weights = self.in_proj_weight.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        q, k, v = (
            functional.linear(x, w, b).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )
        mask = _mask(attn_mask, key_padding_mask, query.shape[0], q.dtype)
        dropped = self.dropout if self.training else 0.0
        scores: torch.Tensor | None = None
        if need_weights:
            scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
            if mask is not None:
                scores = scores + mask
            scores = functional.dropout(scores.softmax(-1), dropped)
            y = scores @ v
        else:
            y = functional.scaled_dot_product_attention(
                q, k, v, mask, dropped, is_causal and mask is None
            )
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        if scores is not None and average_attn_weights:
            scores = scores.mean(1)
        if not batched:
            return y.squeeze(0), None if scores is None else scores.squeeze(0)
        return (y if self.batch_first else y.transpose(0, 1)), scores


def _mask(
    attn_mask: torch.Tensor | None,
    padding: torch.Tensor | None,
    batch: int,
    dtype: torch.dtype,
) -> torch.Tensor | None:
    """Return `attn_mask` + `padding`, to be added to the scores; None if both are None.

    The result broadcasts to (batch, heads, L, S), for L queries and S keys. True in a mask means
    -inf.
    """

    def added(mask: torch.Tensor) -> torch.Tensor:
        if mask.dtype != torch.bool:
            return mask
        return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)

    mask = None if attn_mask is None else added(attn_mask)
    if mask is not None and mask.dim() == 3:
        mask = mask.view(batch, -1, *mask.shape[1:])
    if padding is not None:
        pad = added(padding)[:, None, None, :]
        mask = pad if mask is None else mask + pad
    return mask


def free_heads(module: nn.Module) -> bool:
    """Make the heads of a plain nn.MultiheadAttention removable; return True if that was possible.

    The module object, its parameters and their names stay; its class changes.
    """
    plain = type(module) is nn.MultiheadAttention
    if not plain or not module._qkv_same_embed_dim or module.bias_k is not None:
        return False
    if module.add_zero_attn:
        return False
    module.__class__ = MultiheadAttention
    # This disables the fused path of encoder layers, which relies on embed_dim.
    module._qkv_same_embed_dim = False
    return True
