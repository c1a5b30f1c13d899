"""order_status, a tool: arguments as one JSON object on standard input, what it prints is the answer."""

import json
import os
import sys

ORDERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "orders.json")

arguments = json.load(sys.stdin)
with open(ORDERS, encoding="utf-8") as file:
    order = json.load(file).get(str(arguments["order"]))
# Whose order it is decides the shop, not the model that asks.
if order is None or order["customer"] != arguments["customer"]:
    print(json.dumps({"error": f"{arguments['customer']} has no order {arguments['order']}"}))
else:
    print(json.dumps(order))
