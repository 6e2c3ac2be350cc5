"""A function of Lambda before a source: lets the ticks of one sector through, drops others, and fails what is no tick."""

import base64
import json


def result_of(data):
    try:
        return "Ok" if json.loads(base64.b64decode(data))["SECTOR"] == "RETAIL" else "Dropped"
    except (ValueError, KeyError):
        return "ProcessingFailed"


def handler(event, context):
    return {
        "records": [
            {"recordId": record["recordId"], "result": result_of(record["data"]), "data": record["data"]}
            for record in event["records"]
        ]
    }
