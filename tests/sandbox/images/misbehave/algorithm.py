"""An algorithm that does on purpose what algorithms do by mistake."""

import json
import sys
import time


def main():
    request = json.loads(sys.argv[1])
    parameters = request["customParameters"]
    time.sleep(parameters.get("sleep", 0))
    eaten = bytearray(parameters.get("eat", 0))
    for i in range(0, len(eaten), 4096):
        eaten[i] = 1
    if parameters.get("exit"):
        sys.exit(parameters["exit"])
    with open(request["dataInput"], encoding="utf-8") as file:
        length = sum(1 for _ in file) - 1
    with open(request["dataOutput"], "w", encoding="utf-8") as file:
        file.writelines(f"{i / length}\n" for i in range(length))


main()
