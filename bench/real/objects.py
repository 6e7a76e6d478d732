# SPDX-License-Identifier: MIT
"""Python as a web back end uses it: JSON in and out, dicts, small objects that refer to each
other, some kept in a cache and some dropped at once. One argument: how many rounds."""
import collections
import hashlib
import json
import random
import sys

ROUNDS = int(sys.argv[1])
dice = random.Random(2).random


class Customer:
    def __init__(self, number, fields):
        self.number = number
        self.fields = fields
        self.orders = []


class Order:
    __slots__ = ("customer", "lines", "tags")

    def __init__(self, customer, lines, tags):
        self.customer = customer
        self.lines = lines
        self.tags = tags


def request(n):
    return {"id": n, "user": f"user{int(dice() * 4000)}", 
            "tags": [f"t{i}" for i in range(n % 7)],
            "lines": [{"item": f"item-{int(dice() * 900)}", "count": int(dice() * 9),
                       "price": round(dice() * 100, 2), "note": "x" * int(200 * dice() ** 4)}
                      for _ in range(1 + n % 11)],
            "address": {"city": f"c{n % 300}", "street": "s" * (n % 40),
                        "geo": [dice(), dice()]}}


def main():
    customers = {}
    recent = collections.OrderedDict()
    digest = hashlib.sha256()
    for n in range(ROUNDS):
        text = json.dumps(request(n))
        body = json.loads(text)
        customer = customers.get(body["user"])
        if customer is None:
            customer = customers[body["user"]] = Customer(n, body["address"])
        order = Order(customer, [(line["item"], line["count"] * line["price"])
                                 for line in body["lines"]], set(body["tags"]))
        customer.orders.append(order)
        del customer.orders[:-20]
        recent[n] = (order, text)
        if len(recent) > 3000:
            recent.popitem(last=False)
        total = collections.defaultdict(float)
        for old in customer.orders:
            for item, value in old.lines:
                total[item] += value
        digest.update(json.dumps(sorted(total.items())[:5]).encode())
    print(len(customers), len(recent), digest.hexdigest())


main()
