"""(stand-in)"""


class Stones:
    def removed_from(self, batch):
        return batch


def stones(connection, contract, keys):
    return Stones()
