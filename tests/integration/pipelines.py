"""Small pipelines without models, for tests of the runtime; each call makes one with topics of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel

from streams import Drop, Pipeline, Stream


class Order(BaseModel):
    n: int
    inner: int = 0
    fail_at: int = -1


class Part(BaseModel):
    index: int
    inner: int = 0
    fails: bool = False


class Doubled(BaseModel):
    index: int
    value: int


class Total(BaseModel):
    n: int
    values: list[int]


def fan_out(name: str) -> Pipeline:
    """order -> parts -> doubled -> total: a fork, a map, a join with the request."""
    p = Pipeline(name)

    @p.stage
    async def parts(order: Order) -> AsyncIterator[Part]:
        for i in range(order.n):
            await asyncio.sleep(0)
            yield Part(index=i, fails=i == order.fail_at)

    @p.stage(retries=1)
    def double(part: Part) -> Doubled:
        if part.fails:
            raise RuntimeError("asked to fail")
        return Doubled(index=part.index, value=2 * part.index)

    @p.stage
    async def total(order: Order, doubled: Stream[Doubled]) -> Total:
        return Total(n=order.n, values=[d.value async for d in doubled])

    @p.flow
    def flow(order: Order) -> Total:
        return total(order, double(parts(order)))

    return p


def nested(name: str) -> Pipeline:
    """A fork inside a fork, joined in two steps."""
    p = Pipeline(name)

    @p.stage
    async def parts(order: Order) -> AsyncIterator[Part]:
        for i in range(order.n):
            yield Part(index=i, inner=order.inner)

    @p.stage
    def pieces(part: Part) -> AsyncIterator[int]:
        async def give() -> AsyncIterator[int]:
            for j in range(part.inner):
                yield part.index * 1000 + j

        return give()

    @p.stage
    async def inner_sum(part: Part, pieces: Stream[int]) -> Doubled:
        return Doubled(index=part.index, value=sum([x async for x in pieces]))

    @p.stage
    async def total(doubled: Stream[Doubled]) -> Total:
        values = [d.value async for d in doubled]
        return Total(n=len(values), values=values)

    @p.flow
    def flow(order: Order) -> Total:
        each = parts(order)
        return total(inner_sum(each, pieces(each)))

    return p


def diamond(name: str) -> Pipeline:
    """Two ways from one fork, co-keyed again; one of them filters."""
    p = Pipeline(name)

    @p.stage
    async def parts(order: Order) -> AsyncIterator[Part]:
        for i in range(order.n):
            yield Part(index=i)

    @p.stage
    async def left(part: Part) -> int:
        return part.index

    @p.stage
    def right(part: Part) -> int | Drop:
        return Drop() if part.index % 3 == 0 else part.index * 10

    @p.stage
    def both(left: int, right: int) -> Doubled:
        return Doubled(index=left, value=left + right)

    @p.stage
    async def total(order: Order, doubled: Stream[Doubled]) -> Total:
        return Total(n=order.n, values=[d.value async for d in doubled])

    @p.flow
    def flow(order: Order) -> Total:
        each = parts(order)
        return total(order, both(left(each), right(each)))

    return p
